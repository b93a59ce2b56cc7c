"""`POST /api/communication/backups` with a Prefect server that takes the run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType

from api.app import create_app
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.models import BackupOptions
from convault.settings import Settings
from tests.flows.application import ROWS, held_back
from tests.patience import PATIENCE, awaited
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy, worker
from tests.serving import KEY, PATH, client_of, served

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]


@pytest.fixture
def client(settings: Settings, prefect_api: PrefectServer) -> Iterator[httpx.Client]:
    """A client of an API that has the deployment behind it."""
    deploy(prefect_api)
    with served(create_app(settings)) as url, client_of(url) as client:
        yield client


@pytest.fixture
def prefect(prefect_api: PrefectServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


def taken(prefect: SyncPrefectClient, row: BackupRecord) -> FlowRun:
    """The row's flow run, taken off the server again: no worker of another test shall run it."""
    assert row.flow_run_id is not None
    run = prefect.read_flow_run(row.flow_run_id)
    prefect.delete_flow_run(run.id)
    return run


@pytest.mark.parametrize(
    "body",
    [{"compressionLevel": 9, "format": "json"}, {"compression_level": 9}],
    ids=["camelCase", "snake_case"],
)
def test_the_row_is_pending_and_the_run_is_scheduled(
    client: httpx.Client, prefect: SyncPrefectClient, catalog: Catalog, body: dict[str, object]
) -> None:
    answer = client.post(PATH, json=body)
    assert answer.status_code == 202, answer.text
    row = BackupRecord.model_validate(answer.json())
    assert answer.headers["location"] == f"{PATH}/{row.id}"
    assert row.status == BackupStatus.PENDING
    assert row.options == BackupOptions(compression_level=9).to_json()
    assert row.repository_id == catalog.repository_id()
    assert row == catalog.get(row.id)
    assert client.get(PATH).json()["backups"] == [answer.json()]

    run = taken(prefect, row)
    assert run.parameters == {"options": row.options, "backup_id": str(row.id)}
    assert "compressionLevel" in run.parameters["options"]
    assert run.idempotency_key == str(row.id)
    assert run.state_type is StateType.SCHEDULED


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"", None), (b"{}", "application/json; charset=utf-8"), (b"{}", "Application/JSON")],
)
def test_no_options_are_the_defaults(
    client: httpx.Client, prefect: SyncPrefectClient, body: bytes, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post(PATH, content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    row = BackupRecord.model_validate(answer.json())
    assert row.options == BackupOptions().to_json()
    assert taken(prefect, row).parameters["options"] == BackupOptions().to_json()


def test_each_request_is_a_backup_of_its_own(
    client: httpx.Client, prefect: SyncPrefectClient
) -> None:
    rows = [BackupRecord.model_validate(client.post(PATH).json()) for _ in range(2)]
    assert rows[0].id != rows[1].id
    assert taken(prefect, rows[0]).id != taken(prefect, rows[1]).id


def test_a_worker_completes_it(
    client: httpx.Client,
    settings: Settings,
    prefect_api: PrefectServer,
    tmp_path: Path,
) -> None:
    with psycopg.connect(settings.source_url()) as connection:
        psycopg.ClientCursor(connection).execute(ROWS, {"conversations": 5, "messages": 20})
    environment = {
        "DATABASE_URL": settings.source_url(),
        "CONVAULT_STORE_URL": settings.store_url(),
        "CONVAULT_API_KEY": KEY,
        "CONVAULT_LOCK_TIMEOUT": str(2 * PATIENCE),
    }
    log = tmp_path / "worker.log"
    progress: list[float | None] = []
    with worker(prefect_api, environment, log), held_back(settings.source_url()) as let_go:
        asked = client.post(PATH, json={"compressionLevel": 1}).json()
        own = f"{PATH}/{asked['id']}"

        def on_its_way() -> bool:
            row = client.get(own).json()
            progress.append(row["progress"] if row["status"] == "processing" else None)
            return progress[-1] is not None or row["status"] not in ("pending", "processing")

        awaited(on_its_way, log)  # it may be over before anybody looks, so it is held back
        let_go()
        deadline = time.monotonic() + PATIENCE
        while (row := client.get(own).json())["status"] in ("pending", "processing"):
            assert time.monotonic() < deadline, log.read_text()
            progress.append(row["progress"] if row["status"] == "processing" else None)
            time.sleep(0.1)
    seen = [percent for percent in progress if percent is not None]
    assert seen == sorted(seen)
    assert seen, "a run that is on its way says how far it is"
    assert row["status"] == "completed", row["error"]
    assert row["id"] == asked["id"]
    assert UUID(row["flow_run_id"]) == UUID(asked["flow_run_id"])
    assert row["options"] == asked["options"]
    assert row["file_name"] == f"backup_{asked['id']}.tar"
    assert row["rows"] == 2 + 5 + 20
    assert row["metrics"]["seconds"].keys() >= {"fetch", "serialize", "compress", "upload"}
    assert (row["verified_at"], row["drill"]) == (None, None), "nobody restored it for a trial yet"
    with client_of(str(client.base_url), key=None) as stranger:
        downloaded = stranger.get(row["url"])
    assert len(downloaded.content) == row["file_size"]
