"""Starting and stopping runs of one backup, on a real Prefect server without a worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from api.app import create_app
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.settings import Settings
from tests.patience import PATIENCE, awaited
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy
from tests.serving import PATH, client_of, problem, served

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]

NOW = datetime.now(UTC)


@pytest.fixture
def url(settings: Settings, prefect_api: PrefectServer) -> Iterator[str]:
    deploy(prefect_api)
    with served(create_app(settings)) as url:
        yield url


@pytest.fixture(autouse=True)
def targets(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`staging`, a database of its own, and `live`, the source itself."""
    monkeypatch.setenv("CONVAULT_TARGET_STAGING_URL", "postgresql://me:hunter2@127.0.0.1:1/staging")
    monkeypatch.setenv("CONVAULT_TARGET_LIVE_URL", settings.source_url())


@pytest.fixture
def prefect(prefect_api: PrefectServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def path(catalog: Catalog) -> str:
    """Of a backup that is complete."""
    return f"{PATH}/{add(catalog, BackupStatus.COMPLETED).id}"


def add(catalog: Catalog, status: BackupStatus, **columns: object) -> BackupRecord:
    row = BackupRecord(id=uuid4(), status=status, options={}, created_at=NOW, updated_at=NOW)
    return catalog.add(row.model_copy(update=columns))


def taken(prefect: SyncPrefectClient, answer: httpx.Response) -> FlowRun:
    """The run that was started, taken off the server again."""
    assert answer.status_code == 202, answer.text
    run = prefect.read_flow_run(UUID(answer.json()["flow_run_id"]))
    prefect.delete_flow_run(run.id)
    return run


def test_a_restore(client: httpx.Client, prefect: SyncPrefectClient, path: str) -> None:
    body = {"target": "staging", "options": {"conversations": ["7"], "dataOnly": True}}
    run = taken(prefect, client.post(f"{path}/restore", json=body))
    assert run.name == f"restore-{path.rpartition('/')[2]}"
    assert run.parameters["target"] == "staging"
    assert run.parameters["options"]["conversations"] == ["7"]
    assert (run.parameters["trust"], run.parameters["agree"]) == (False, False)
    assert "hunter2" not in str(run.parameters)


@pytest.mark.parametrize(
    "body",
    [
        {"target": "live"},
        {"target": "staging", "options": {"mode": "skip"}},
        {"target": "staging", "options": {"mode": "overwrite"}},
        {"target": "staging", "options": {"mode": "replace"}},
    ],
)
def test_live_tables_are_restored_only_where_that_is_allowed(
    settings: Settings, prefect: SyncPrefectClient, client: httpx.Client, path: str,
    body: dict[str, object],
) -> None:  # fmt: skip
    answer = client.post(f"{path}/restore", json=body)
    assert "CONVAULT_ALLOW_LIVE_RESTORE" in str(
        problem(answer, 403, "live-restore-forbidden")["detail"]
    )
    allowed = settings.model_copy(update={"convault_allow_live_restore": True})
    with served(create_app(allowed)) as other, client_of(other) as client:
        taken(prefect, client.post(f"{path}/restore", json=body))


@pytest.mark.parametrize("options", [{"dryRun": True}, {"intoSchema": "restored"}])
def test_what_changes_no_live_row_is(
    client: httpx.Client, prefect: SyncPrefectClient, path: str, options: dict[str, object]
) -> None:
    taken(prefect, client.post(f"{path}/restore", json={"target": "live", "options": options}))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "target"),
        ({"target": "postgresql://me:hunter2@host/db"}, "target"),
        ({"target": "staging", "options": {"mode": "hunter2"}}, "options.mode"),
        ({"target": "staging", "options": {"mode": "replace", "tables": ["a"]}}, "--table"),
        ({"target": "staging", "hurry": True}, "hurry"),
        ({"target": "staging\n"}, "target"),
        ({"target": "staging", "options": {"conversations": ["1" * 99] * 6000}}, "bytes"),
        ({"target": "staging", "options": {"files": True, "dryRun": True}}, "SUPABASE_URL"),
        ({"target": "staging", "options": {"dryRun": True, "dry_run": False}}, "dry_run"),
        ([], "body"),
    ],
)
def test_bad_bodies_are_named(client: httpx.Client, path: str, body: object, named: str) -> None:
    told = problem(client.post(f"{path}/restore", json=body), 422, "options")
    assert named in str(told["detail"])
    assert "hunter2" not in str(told)


def test_no_such_target(client: httpx.Client, path: str) -> None:
    answer = client.post(f"{path}/restore", json={"target": "nowhere"})
    assert "CONVAULT_TARGET_NOWHERE_URL" in str(problem(answer, 404, "not-found")["detail"])
    problem(client.post(f"{path}/drill", json={"into": "nowhere"}), 404, "not-found")


def test_a_verification_and_a_drill(
    client: httpx.Client, prefect: SyncPrefectClient, path: str
) -> None:
    run = taken(prefect, client.post(f"{path}/verify", json={"readData": "1/4"}))
    assert (run.parameters["backup_id"], run.parameters["read_data"]) == (path[-36:], "1/4")
    assert taken(prefect, client.post(f"{path}/verify")).parameters["read_data"] is None
    problem(client.post(f"{path}/verify", json={"read_data": "5/4"}), 422, "options")
    run = taken(prefect, client.post(f"{path}/drill"))
    assert (run.parameters["backup_id"], run.parameters["into"]) == (path[-36:], None)


def test_only_what_is_complete_can_be_restored(client: httpx.Client, catalog: Catalog) -> None:
    waiting = add(catalog, BackupStatus.PENDING)
    for action, body in (("restore", {"target": "staging"}), ("verify", {}), ("drill", {})):
        problem(client.post(f"{PATH}/{waiting.id}/{action}", json=body), 409, "busy")
        answer = client.post(f"{PATH}/{uuid4()}/{action}", json=body)
        problem(answer, 404, "not-found")


def test_a_backup_that_waits_never_starts_once_it_is_cancelled(
    client: httpx.Client, prefect: SyncPrefectClient
) -> None:
    row = client.post(PATH).json()
    answer = client.post(f"{PATH}/{row['id']}/cancel")
    assert answer.status_code == 202
    assert answer.json()["status"] == "failed"
    assert answer.json()["error"] == "Cancelled before it started."
    run = prefect.read_flow_run(UUID(row["flow_run_id"]))
    prefect.delete_flow_run(run.id)
    assert run.state is not None
    assert run.state.type is StateType.CANCELLED
    problem(client.post(f"{PATH}/{row['id']}/cancel"), 409, "busy")


def test_a_run_that_prefect_does_not_know_is_not_called_cancelled(
    client: httpx.Client, catalog: Catalog
) -> None:
    working = add(catalog, BackupStatus.PROCESSING, flow_run_id=uuid4())
    problem(client.post(f"{PATH}/{working.id}/cancel"), 409, "busy")
    assert catalog.get(working.id).status is BackupStatus.PROCESSING


def test_without_a_prefect_server_it_is_503(
    settings: Settings, catalog: Catalog, path: str, closed_port: int
) -> None:
    waiting = add(catalog, BackupStatus.PENDING, flow_run_id=uuid4())
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api"}),
        served(create_app(settings)) as url,
        client_of(url) as client,
    ):
        problem(client.post(f"{path}/verify"), 503, "prefect-unavailable")
        problem(client.post(f"{PATH}/{waiting.id}/cancel"), 503, "prefect-unavailable")
    assert catalog.get(waiting.id).status is BackupStatus.PENDING


def test_one_that_waits_or_runs_is_cancelled_before_it_is_deleted(
    client: httpx.Client, prefect: SyncPrefectClient, catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("api.stopping.WAIT_SECONDS", PATIENCE)
    waiting, working = client.post(PATH).json(), client.post(PATH).json()
    assert client.delete(f"{PATH}/{waiting['id']}").json()["status"] == "deleted"
    catalog.update(UUID(working["id"]), status=BackupStatus.PROCESSING)

    def fails() -> None:
        """As the run does once it hears that it shall stop."""
        awaited(
            lambda: (
                prefect.read_flow_run(UUID(working["flow_run_id"])).state.type  # type: ignore[union-attr]
                in {StateType.CANCELLED, StateType.CANCELLING}
            ),
            pause=0.05,
        )
        catalog.update(UUID(working["id"]), status=BackupStatus.FAILED, error="cancelled")

    stopping = threading.Thread(target=fails, daemon=True)
    stopping.start()
    assert client.delete(f"{PATH}/{working['id']}").json()["status"] == "deleted"
    stopping.join(PATIENCE)
    for row in (waiting, working):
        run = prefect.read_flow_run(UUID(row["flow_run_id"]))
        prefect.delete_flow_run(run.id)
        assert run.state is not None
        assert run.state.type in {StateType.CANCELLED, StateType.CANCELLING}
