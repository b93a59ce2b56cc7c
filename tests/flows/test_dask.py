"""Chunks carried by a Dask cluster: other processes, of which one is killed in mid-run."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyrage
import pytest
import zstandard
from distributed import Client
from pyrage import x25519

import flows.cluster
from convault import cluster as clusters
from convault.embedded.server import EmbeddedPostgres
from convault.errors import ClusterUnavailable, ConfigurationError
from convault.models import BackupOptions, Chunk
from convault.orders import order
from convault.settings import Settings
from convault.sources.base import Snapshot
from flows.backup import backup
from tasks.carry import Work
from tasks.carry_away import Delivered
from tests.flows.application import Application, build, differences
from tests.flows.dask_cluster import dask_cluster
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]


@pytest.fixture
def wide(
    cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefect_api: PrefectServer,
) -> Iterator[tuple[Application, Client]]:
    """An application of some ten chunks, and a client of the cluster that carries them. Only the
    run knows where the catalog is, and only the workers have their environment."""
    application = build(
        new_database(cluster),
        new_database(cluster),
        tmp_path / "store",
        messages=3000,
        CONVAULT_RANGE_PAGES="16",
        CONVAULT_PART_BYTES="131072",
        CONVAULT_CHUNK_BYTES="100000",
        CONVAULT_WORKERS="2",
    )
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    environment = {
        "DATABASE_URL": application.url,
        "CONVAULT_STORE_URL": application.environment["CONVAULT_STORE_URL"],
        "PREFECT_HOME": str(folder),
        "PATH": os.environ["PATH"],
    }
    with dask_cluster(folder, environment) as address:
        wanted = {
            **application.environment,
            "CONVAULT_TASK_RUNNER": "dask",
            "CONVAULT_DASK_ADDRESS": address,
        }
        for name, value in wanted.items():
            monkeypatch.setenv(name, value)
        with Client(address, set_as_default=False, timeout=PATIENCE) as client:
            yield application, client


def story_of(client: Client) -> list[tuple[str, str]]:
    """Keys of chunks and the states that they came into, as the scheduler wrote them down."""
    # A lambda, because the cluster knows nothing of the tests.
    told = client.run_on_scheduler(
        lambda dask_scheduler: [(str(e[0]), str(e[2])) for e in dask_scheduler.transition_log]
    )
    return [(key, state) for key, state in told]


def kill_one_at_work(client: Client, after: int) -> list[int]:
    """Kill the process of a worker while it is at work, when so many chunks are done."""
    pids = client.run(os.getpid)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done = [key for key, state in story_of(client) if state == "memory"]
        for worker, keys in client.processing().items():
            if keys and len(done) >= after:
                os.kill(pids[worker], signal.SIGKILL)
                return [pids[worker]]
    return []


class Overheard:
    """What goes to workers and what comes back; and before the first chunk goes, rows are written
    that the snapshot does not show."""

    def __init__(self, application: Application, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[bytes] = []
        self.rates: set[float | None] = set()
        self._late = [
            "INSERT INTO messages (conversation_id, body) SELECT 3, 'too late ' || n"
            " FROM generate_series(1, 300) n"
        ]
        submit, take = flows.cluster._submit, flows.cluster._take

        def told(
            runner: Any, chunk: Chunk, snapshot: Snapshot, work: Work, rate: float | None
        ) -> Any:
            self.rates.add(rate)
            while self._late:
                application.execute(self._late.pop())
            shared = snapshot.share(chunk.ranges)
            assert shared is not None
            sent = order(
                shared, work.repository, work.options, work.part_bytes, work.encryptor, rate
            )
            self.said.append(pickle.dumps((chunk, sent)))
            return submit(runner, chunk, snapshot, work, rate)

        def taken(chunk: Chunk, delivered: Delivered, work: Work) -> None:
            self.said.append(pickle.dumps(delivered))
            take(chunk, delivered, work)

        monkeypatch.setattr("flows.cluster._submit", told)
        monkeypatch.setattr("flows.cluster._take", taken)


@pytest.mark.long
def test_a_worker_that_is_killed_costs_its_chunk_alone(
    wide: tuple[Application, Client], empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    application, client = wide
    overheard = Overheard(application, monkeypatch)
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.extend(kill_one_at_work(client, 1)))
    killer.start()
    record = backup()
    killer.join()
    assert len(killed) == 1, "nobody was killed while it worked"
    manifest = application.installation().repository.manifest(record.id)
    assert record.metrics is not None
    assert record.metrics["replans"] == 0, "the snapshot is the same"
    assert record.metrics["chunks"] >= 8
    assert record.metrics["rows"] == manifest.rows
    assert record.metrics["stored_bytes"] == manifest.stored_bytes
    assert {p.name for p in (application.store / "data" / "messages").iterdir()} == {
        part.key.rpartition("/")[2]
        for table in manifest.tables
        if table.name.name == "messages"
        for part in table.parts
    }
    begun = Counter(key for key, state in story_of(client) if state == "processing")
    assert len(begun) == record.metrics["chunks"]
    # What it was at, and perhaps what it had just done and not yet handed over: nobody else's.
    assert sum(begun.values()) - len(begun) <= 2, begun
    assert max(begun.values()) <= 2
    application.execute("DELETE FROM messages WHERE body LIKE 'too late%'")
    assert differences(application, record.id, empty) == {
        "public.channels": 0, "public.conversations": 0, "public.messages": 0,
    }  # fmt: skip

    # An encrypted one: its parts are, though no worker knows a recipient by its own settings.
    identity = x25519.Identity.generate()
    application.installation().catalog.add_recipient(str(identity.to_public()))
    # A line that is shared by all: of two workers each sends a half of what a run may.
    monkeypatch.setenv("CONVAULT_UPLOAD_LIMIT", "1kB")
    some = backup(BackupOptions(conversation_ids=("3", "4")))
    assert some.rows == 2 + 2 + 120
    assert some.metrics is not None
    assert overheard.rates == {None, 500.0}
    # Of twenty seconds that all of it takes: a share comes while rows are read, however slowly.
    assert some.metrics["new_bytes"] > 10_000
    assert some.metrics["seconds"]["upload"] > 1
    sealed = application.installation().repository.manifest(some.id)
    assert sealed.encryption is not None
    [digest_key] = sealed.encryption.digest_keys
    parts = [part for table in sealed.tables for part in table.parts]
    assert sum(part.rows for part in parts) == some.rows
    for part in parts:
        assert part.digest_key == digest_key.id
        data = zstandard.decompress(
            pyrage.decrypt((application.store / part.key).read_bytes(), [identity])
        )
        assert len(data.splitlines()) == part.rows

    # What goes to a worker, and what comes back, holds no row: places of rows, and receipts.
    assert len(overheard.said) >= 2 * record.metrics["chunks"] + 2
    with psycopg.connect(application.url) as connection:
        texts = connection.execute(
            "SELECT body FROM messages WHERE body <> '' UNION SELECT subject FROM conversations"
            " WHERE subject <> '' UNION SELECT name FROM channels UNION SELECT metadata::text"
            " FROM messages"
        ).fetchall()
    assert len(texts) > 3000
    for said in overheard.said:
        assert not [text for (text,) in texts if text.encode() in said]
    assert max(map(len, overheard.said)) < 30_000
    assert pids_of(client).isdisjoint(killed)


def pids_of(client: Client) -> set[int]:
    return set(client.run(os.getpid).values())


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "CONVAULT_DASK_ADDRESS must name its scheduler"),
        ({"convault_dask_address": "scheduler:8786"}, "CONVAULT_DASK_ADDRESS must name"),
        ({"convault_source": "rest"}, "rows by REST"),
        ({"convault_store_url": "memory://"}, "a store in memory"),
        ({"convault_store_quota": "1GB"}, "CONVAULT_STORE_QUOTA"),
        ({"convault_source_connections": 3}, "CONVAULT_SOURCE_CONNECTIONS"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(given: dict[str, Any], why: str) -> None:
    address = {} if not given else {"convault_dask_address": "tcp://127.0.0.1:9"}
    settings = Settings(convault_task_runner="dask", **{**address, **given})
    with pytest.raises(ConfigurationError, match=why):
        clusters.require_cluster(settings)
    threads = {k: v for k, v in given.items() if k != "convault_dask_address"}
    clusters.require_cluster(Settings(**threads))


def test_a_cluster_that_is_not_there(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.cluster.CONNECT", 0.5)
    monkeypatch.setenv("CONVAULT_TASK_RUNNER", "dask")
    monkeypatch.setenv("CONVAULT_DASK_ADDRESS", "tcp://127.0.0.1:9")
    with pytest.raises(ClusterUnavailable, match="cannot be reached"):
        backup()
