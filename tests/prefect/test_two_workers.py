"""Two Prefect workers on one queue, of which one is killed with the run that it carries."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect.client.orchestration import get_client

from convault.catalog import BackupRecord, BackupStatus, Catalog
from convault.embedded.server import EmbeddedPostgres
from convault.models import BackupOptions
from deployments import start_backup
from deployments.automation import NAME, ensure_automation
from tests.flows.application import Application, build, database, differences
from tests.patience import awaited
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy, forget_workers, nothing_waits, started

pytestmark = [
    pytest.mark.prefect_server, pytest.mark.xdist_group("workers"), pytest.mark.long,
    pytest.mark.timeout(1800),
]  # fmt: skip

_SILENT = "90"
"""seconds; a run says every 30 that it lives, and a busy machine hears it late"""


@pytest.fixture(scope="module")
def application(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Application]:
    """One with many parts."""
    with database(cluster) as url, database(cluster) as catalog_url:
        yield build(
            url, catalog_url, tmp_path_factory.mktemp("workers") / "store", messages=20_000,
            CONVAULT_RANGE_PAGES="16", CONVAULT_CHUNK_BYTES="300000",
        )  # fmt: skip


@contextmanager
def slow(server: PrefectServer) -> Iterator[None]:
    """Backups that a worker starts within the block send their store little at a time, and are
    under way for minutes: none ends by itself while a test looks at it, on any machine."""
    found = server.ask("/deployments/name/backup/conversations")
    there, plain = f"/deployments/{found['id']}", found["job_variables"]
    paced = plain | {"env": plain["env"] | {"CONVAULT_UPLOAD_LIMIT": "2KB"}}
    server.request("PATCH", there, {"job_variables": paced}).raise_for_status()
    try:
        yield
    finally:
        server.request("PATCH", there, {"job_variables": plain}).raise_for_status()


@pytest.fixture
def workers(
    application: Application, prefect_api: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Two of Prefect's own workers of the pool, by name."""
    deploy(prefect_api)
    for name, value in {**application.environment, "CONVAULT_SILENT_SECONDS": _SILENT}.items():
        monkeypatch.setenv(name, value)
    with get_client(sync_client=True) as client, nothing_waits(prefect_api), ExitStack() as stack:
        assert ensure_automation(client)
        try:
            yield {
                name: stack.enter_context(
                    started(
                        prefect_api, application.environment,
                        application.store.parent / f"{name}.log", name,
                    )
                )
                for name in ("first", "second")
            }  # fmt: skip
        finally:
            for found in client.read_automations_by_name(NAME):
                client.delete_automation(found.id)
    forget_workers(prefect_api)


def runs_of(server: PrefectServer) -> list[dict[str, Any]]:
    """Every run of a backup that the server knows."""
    wanted = {"deployments": {"name": {"any_": ["conversations"]}}}
    found: list[dict[str, Any]] = server.ask("/flow_runs/filter", wanted)
    return found


def carries(worker: subprocess.Popen[bytes]) -> dict[str, list[psutil.Process]]:
    """Processes of the runs that a worker carries, by the run's id."""
    found: dict[str, list[psutil.Process]] = {}
    for child in psutil.Process(worker.pid).children(recursive=True):
        try:
            run = child.environ().get("PREFECT__FLOW_RUN_ID")
        except psutil.NoSuchProcess:
            continue
        if run:
            found.setdefault(run, []).append(child)
    return found


def beats(server: PrefectServer, run: str) -> bool:
    """Whether the run said that it lives."""
    asked = {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}, "limit": 50}
    found = server.ask("/events/filter", asked)
    return any(
        event["resource"]["prefect.resource.id"] == f"prefect.flow-run.{run}"
        for event in found["events"]
    )


def watch() -> str:
    """Start the deployment that looks for incidents; its run's id. By Prefect's client, which asks
    again while the server's database is busy."""
    with get_client(sync_client=True) as client:
        there = client.read_deployment_by_name("watch/incidents")
        return str(client.create_flow_run_from_deployment(there.id).id)


def state_of(server: PrefectServer, run: str) -> str:
    """Type of the state that a run is in."""
    return str(server.ask(f"/flow_runs/{run}")["state_type"])


def row_of(catalog: Catalog, backup_id: UUID) -> BackupRecord | None:
    """None before the run has begun."""
    return next((row for row in catalog.list() if row.id == backup_id), None)


def test_a_worker_that_is_killed_costs_its_run_alone(
    application: Application,
    workers: dict[str, subprocess.Popen[bytes]],
    prefect_api: PrefectServer,
    cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
) -> None:
    """Of four backups that wait at once, each is made once and by itself, beside a run of another
    deployment; the first is killed with its worker, and what it had stored is not stored again."""
    catalog, logs = application.installation().catalog, application.store.parent
    asked = [uuid4() for _ in range(4)]
    data = application.store / "data" / "messages"

    def working() -> list[BackupRecord]:
        return catalog.list(status=BackupStatus.PROCESSING)

    with slow(prefect_api):
        runs = {backup_id: str(start_backup(BackupOptions(), backup_id)) for backup_id in asked}
        [lost] = awaited(working, logs)
    awaited(lambda: data.is_dir() and len(list(data.iterdir())) >= 3, logs)
    awaited(lambda: beats(prefect_api, runs[lost.id]), logs)
    beside = watch()
    awaited(lambda: state_of(prefect_api, beside) == "COMPLETED", logs)
    assert [row.id for row in working()] == [lost.id], "the others wait for their turn"
    [name] = [name for name, each in workers.items() if runs[lost.id] in carries(each)]
    victim = psutil.Process(workers[name].pid)
    for process in (victim, *victim.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # the last of the run beside it
            process.kill()
    stored = {path.name: path.stat().st_mtime_ns for path in data.iterdir()}
    assert stored

    awaited(lambda: state_of(prefect_api, runs[lost.id]) == "CRASHED", logs)
    for number in range(1, len(asked)):
        awaited(lambda n=number: len(catalog.list(status=BackupStatus.COMPLETED)) >= n, logs)
    rows = catalog.list(status=BackupStatus.COMPLETED)
    assert {row.id for row in rows} == set(asked) - {lost.id}
    # Rows are written before Prefect hears that their runs are over.
    for row in rows:
        awaited(lambda run=runs[row.id]: state_of(prefect_api, run) == "COMPLETED", logs)
    crashed = row_of(catalog, lost.id)
    assert crashed is not None
    assert crashed.status is BackupStatus.FAILED
    assert "interrupted" in str(crashed.error)

    # Every run once, and no row but those that were asked for; one after the other.
    assert {row.id for row in catalog.list()} == set(asked)
    ended = {run["id"]: (run["run_count"], run["state_type"]) for run in runs_of(prefect_api)}
    assert {run: ended[run] for run in runs.values()} == {
        run: (1, "CRASHED" if backup_id == lost.id else "COMPLETED")
        for backup_id, run in runs.items()
    }
    times = sorted((row.started_at, row.completed_at) for row in rows)
    assert all(before[1] <= after[0] for before, after in pairwise(times))

    # What the killed one stored is part of the next, as it is.
    first = min(rows, key=lambda row: row.started_at)
    manifest = application.installation().repository.manifest(first.id)
    parts = {p.key.rpartition("/")[2]: p for t in manifest.tables for p in t.parts}
    assert stored.keys() <= parts.keys()
    assert {name: (data / name).stat().st_mtime_ns for name in stored} == stored
    spared = sum(parts[name].stored_bytes for name in stored)
    assert first.metrics is not None
    assert first.metrics["new_bytes"] <= manifest.stored_bytes - spared
    assert not any(differences(application, first.id, new_database(cluster)).values())
