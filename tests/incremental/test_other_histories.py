"""A chain whose database was put back, copied, or crashed: the same numbers of transactions come
again with other rows in the same places, and none of the old ones is taken for them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest
from obstore.store import MemoryStore

from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest
from convault.repository import Repository
from convault.sources.postgres import PostgresSnapshot
from convault.sources.settling import unsettled
from convault.stores.objects import ObjectStore
from tests.clusters import Clusters, copied
from tests.incremental.chain import Chain, Rows, stored
from tests.patience import awaited
from tests.sources.reading import TABLES, run, source, whole

LOST = "INSERT INTO messages VALUES (1000, 1, 'lost')"
NEW = "INSERT INTO messages VALUES (1000, 1, 'new')"


@pytest.fixture
def started(new_cluster: Clusters) -> Callable[..., EmbeddedPostgres]:
    """A cluster with the tables."""

    def start(name: str, **options: str) -> EmbeddedPostgres:
        cluster = new_cluster(name)
        cluster.options.update(options)
        cluster.start()
        run(cluster.url(), TABLES)
        return cluster

    return start


def chain_of(url: str) -> Chain:
    return Chain(Repository.create(ObjectStore(MemoryStore(), "memory://chain")), url)


def check(chain: Chain, made: tuple[Manifest, Rows]) -> Manifest:
    """It equals what its snapshot showed."""
    manifest, rows = made
    assert stored(chain.repository, manifest) == rows
    return manifest


def taken_over(manifest: Manifest) -> int:
    assert manifest.reuse is not None
    return manifest.reuse.ranges


def test_a_copy_takes_nothing_over_from_the_original(
    started: Callable[..., EmbeddedPostgres], new_cluster: Clusters
) -> None:
    original = started("original")
    copy = copied(original, new_cluster("copy"))
    copy.start()
    chain = chain_of(original.url())
    check(chain, chain.back_up())
    run(original.url(), LOST)
    assert taken_over(check(chain, chain.back_up())) > 0
    run(copy.url(), NEW)
    chain.url = copy.url()
    assert taken_over(check(chain, chain.back_up())) == 0
    assert taken_over(check(chain, chain.back_up())) > 0
    chain.url = original.url()
    assert taken_over(check(chain, chain.back_up())) == 0


def test_recovery_to_a_point_in_time_ends_the_chain(
    started: Callable[..., EmbeddedPostgres], new_cluster: Clusters
) -> None:
    """Files are put back, the log is replayed to a point, and the same numbers come again."""
    original = started("original")
    recovered = copied(original, new_cluster("recovered"))
    run(original.url(), "SELECT pg_create_restore_point('here')")
    chain = chain_of(original.url())
    run(original.url(), LOST)
    run(original.url(), "UPDATE messages SET body = 'lost' WHERE id = 2")
    lost = check(chain, chain.back_up())
    log = original.data / "pg_wal"
    run(original.url(), "SELECT pg_switch_wal()")
    owner = recovered.data.stat()
    request = recovered.data / "recovery.signal"
    request.touch()
    os.chown(request, owner.st_uid, owner.st_gid)
    recovered.options |= {"restore_command": f"cp {log}/%f %p", "recovery_target_name": "here",
                          "recovery_target_action": "promote"}  # fmt: skip
    recovered.start()
    promoted(recovered.url())
    run(recovered.url(), NEW)
    run(recovered.url(), "UPDATE messages SET body = 'new' WHERE id = 2")
    run(recovered.url(), "CREATE TABLE x (); SELECT pg_switch_wal(); CREATE TABLE y ()")
    chain.url = recovered.url()
    now = check(chain, chain.back_up())
    assert (lost.source.timeline, now.source.timeline) == (1, 2)
    assert lost.source.system_identifier == now.source.system_identifier
    assert taken_over(now) == 0
    assert now.reuse is not None
    assert "another history" in now.reuse.reason


def promoted(url: str) -> None:
    awaited(lambda: run(url, "SELECT pg_is_in_recovery()") == [(False,)], pause=0.05)


def test_a_crash_that_the_server_survives_takes_back_what_was_not_flushed(
    started: Callable[..., EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no backup is a parent that has seen it."""
    cluster = started("crashing", wal_writer_delay="10s")
    url = cluster.url()
    chain = chain_of(url)
    check(chain, chain.back_up())
    run(url, "CHECKPOINT")
    # Its own patience is longer, and would have the server flush.
    monkeypatch.setattr(
        PostgresSnapshot, "unsettled",
        lambda self: unsettled(url, self.facts.wal_position, timeout=0.3),
    )  # fmt: skip
    with unflushed(url), closing(psycopg.connect(url, autocommit=True)) as session:
        session.execute("SET synchronous_commit = off")
        session.execute(LOST.encode())
        lost, lost_rows = chain.back_up()
        seen, before = sums(url), process(url, "checkpointer")
        (backend,) = session.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        os.kill(int(backend), signal.SIGKILL)
        # The server kills what does not end by itself, and that stands still, after 5 s.
        again(url, before)
    assert stored(chain.repository, lost) == lost_rows
    assert "not flushed" in chain.warnings[0]
    reasons = {entry.reason for table in lost.tables for entry in table.ranges}
    assert len(reasons) == 1
    assert "was not flushed to" in reasons.pop()
    assert run(url, "SELECT * FROM messages WHERE id = 1000") == []
    run(url, NEW)
    assert sums(url) == seen, "or there would be nothing to tell apart"
    now = check(chain, chain.back_up())
    assert lost.source.started_at == now.source.started_at
    assert lost.source.next_xid == now.source.next_xid
    assert taken_over(now) == 0


def sums(url: str) -> tuple[str, ...]:
    """Of the versions of all messages."""
    with source(url).snapshot() as snapshot:
        return snapshot.fingerprint(whole(snapshot, "messages")).sums


def process(url: str, kind: str) -> int:
    """The server's own."""
    ((pid,),) = run(url, f"SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}'")
    return int(str(pid))


@contextlib.contextmanager
def unflushed(url: str) -> Iterator[None]:
    """Whoever flushes the log by itself stands still for the block."""
    writer = process(url, "walwriter")
    os.kill(writer, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(writer, signal.SIGCONT)


def again(url: str, before: int) -> None:
    """Wait until the server has recovered: its checkpointer is not the one before, as it is until
    the server has noticed that it crashed."""

    def recovered() -> bool:
        try:
            return process(url, "checkpointer") != before
        except (psycopg.OperationalError, ValueError):  # ValueError: it has none yet
            return False

    awaited(recovered, pause=0.05)


def test_it_waits_until_the_log_is_flushed(started: Callable[..., EmbeddedPostgres]) -> None:
    """Also where only an open transaction has written, and nothing else would flush it."""
    cluster = started("idle")
    url = cluster.url()
    with closing(psycopg.connect(url)) as session:
        with unflushed(url):
            session.execute(NEW.encode())
            ((position,),) = run(url, "SELECT pg_current_wal_insert_lsn()::text")
            assert run(url, f"SELECT pg_current_wal_flush_lsn() < '{position}'") == [(True,)]
            # Whoever waits too briefly is told so.
            assert "was not flushed to" in unsettled(url, str(position), timeout=0.05)
        assert unsettled(url, str(position)) == ""
        session.rollback()
    run(url, "CREATE ROLE shy LOGIN; REVOKE EXECUTE ON FUNCTION pg_current_wal_flush_lsn() FROM"
             " PUBLIC")  # fmt: skip
    shy = cluster.url(user="shy")
    assert unsettled(shy, str(position)) == "the role may not ask for pg_current_wal_flush_lsn()"
    assert "may not ask" in unsettled(shy, "")
