"""Each route: success, bad input, no right, and each thing that it leans on being away.

A route that is not in the table, or lacks one of these, fails here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from api.app import create_app
from api.caller import Scope
from api.keys import new_key
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.installation import open_installation
from convault.schedule import id_of
from convault.settings import Settings
from deployments.start import DEPLOYMENT
from deployments.workers import POOL
from tests.api.routes_by_row import OPEN, ROWS, Row
from tests.handmade import new_backup
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer
from tests.prefect_worker import forget_workers
from tests.serving import PATH, client_of, problem, served

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]

SCHEDULE = "row"
NEW = {"schedule": "daily", "name": SCHEDULE, "is_active": False}
"""switched off, or the server would make a hundred runs of it"""
NOT_THERE = {
    "catalog": {"catalog-unavailable"},
    "prefect": {"prefect-unavailable"},
    "source": {"source-unavailable"},
    "store": {"store-unavailable", "store", "repository", "configuration"},
}
"""codes of the problem that it is when something is away"""

every = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


@pytest.fixture(scope="module")
def scoped() -> dict[Scope, tuple[str, str]]:
    """For each scope a key that has all the others but admin, and its entry."""
    return {
        scope: new_key(f"not-{scope}", [s for s in Scope if s not in (scope, Scope.ADMIN)])
        for scope in Scope
    }


@pytest.fixture(scope="module")
def installed(settings: Settings, scoped: dict[Scope, tuple[str, str]]) -> Settings:
    entries = " ".join(entry for _, entry in scoped.values())
    return settings.model_copy(
        update={"convault_api_keys": Settings(convault_api_keys=entries).convault_api_keys}
    )


@pytest.fixture(scope="module")
def urls(
    installed: Settings, closed_port: int, prefect_client: SyncPrefectClient
) -> Iterator[dict[str, str]]:
    """An API where everything is there (`""`), and one for each thing that is away."""
    nowhere = Settings(database_url=f"postgresql://u@127.0.0.1:{closed_port}/x").database_url
    missing = Path(urlsplit(installed.store_url()).path).with_name(secrets.token_hex(4))
    catalog = Settings(convault_catalog_url=installed.catalog_url()).convault_catalog_url
    changed: dict[str, dict[str, Any]] = {
        "": {},
        "prefect": {},
        "catalog": {"convault_catalog_url": nowhere},
        "source": {"database_url": nowhere, "convault_catalog_url": catalog},
        "store": {"convault_store_url": missing.as_uri()},
    }
    with ExitStack() as stack:
        found = {}
        for name, update in changed.items():
            app = create_app(installed.model_copy(update=update))
            closed = {PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api"}
            with temporary_settings(closed if name == "prefect" else {}):
                found[name] = stack.enter_context(served(app))
        yield found


@pytest.fixture(autouse=True)
def staging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVAULT_TARGET_STAGING_URL", "postgresql://u@127.0.0.1:1/staging")


@pytest.fixture
def ready(
    settings: Settings,
    catalog: Catalog,
    prefect_client: SyncPrefectClient,
    prefect_server: PrefectServer,
    urls: dict[str, str],
) -> Any:
    """Gives the row's path and what httpx is given beside it; makes what a success needs, unless it
    is refused before that would be looked at."""

    made_for: set[str] = set()

    def make(row: Row, *, refused: bool = False) -> tuple[str, dict[str, Any]]:
        asked = dict(row.ok)
        path = row.path
        if refused:
            return re.sub("{[a-z]+_id}", str(uuid4()), path), asked
        made_for.add(path)
        if "{backup_id}" in path:
            waits = path.endswith("/cancel")
            status = BackupStatus.PENDING if waits else BackupStatus.COMPLETED
            path = path.replace("{backup_id}", str(backup(settings, catalog, status).id))
        if path.endswith("/undelete"):
            with client_of(urls[""]) as client:
                gone = client.delete(path.removesuffix("/undelete"))
            assert gone.status_code == 200, gone.text
        if row.path.endswith("/toggle") or "{schedule_id}" in path:
            with client_of(urls[""]) as client:
                made = client.post(f"{PATH}/scheduler", json=NEW)
            assert made.status_code == 201, made.text
            path = path.replace("{schedule_id}", str(id_of("row")))
            if row.path.endswith("/toggle"):
                asked = {"json": {**asked["json"], "id": str(id_of("row"))}}
        if row.path == f"{PATH}/verify":
            beat = prefect_client._client.post(  # as a worker says that it is there
                f"/work_pools/{POOL}/workers/heartbeat", json={"name": "a worker"}
            )
            assert beat.is_success
        return path, asked

    yield make
    if f"{PATH}/verify" in made_for:
        forget_workers(prefect_server)
    if not any("/scheduler" in path for path in made_for):
        return
    deployment = prefect_client.read_deployment_by_name(DEPLOYMENT).id
    for schedule in prefect_client.read_deployment_schedules(deployment):
        if schedule.slug == SCHEDULE:
            prefect_client.delete_deployment_schedule(deployment, schedule.id)
    catalog.delete_schedule(id_of(SCHEDULE))


def backup(settings: Settings, catalog: Catalog, status: BackupStatus) -> BackupRecord:
    """A row, and the backup in the store when it is complete; two of them, so that one may go."""
    now, rows = datetime.now(UTC), []
    repository = open_installation(settings).repository
    for _ in range(2 if status is BackupStatus.COMPLETED else 1):
        backup_id = uuid4()
        if status is BackupStatus.COMPLETED:
            made = new_backup(repository, backup_id=backup_id)
            repository.put_manifest(made, settings.signing)
        row = BackupRecord(
            id=backup_id, status=status, options={}, created_at=now, updated_at=now,
            flow_run_id=uuid4() if status is BackupStatus.PENDING else None,
        )  # fmt: skip
        rows.append(catalog.add(row))
    return rows[0]


def ask(
    url: str, row: Row, path: str, given: dict[str, Any], key: str | None = "", method: str = ""
) -> httpx.Response:
    with client_of(url) if key == "" else client_of(url, key) as client:
        return client.request(method or row.method, path, **given)


def refused(row: Row, answer: httpx.Response, status: int, code: str) -> None:
    if row.method == "HEAD":
        assert (answer.status_code, answer.content) == (status, b"")
    else:
        problem(answer, status, code)


def test_the_table_has_every_route(urls: dict[str, str]) -> None:
    paths = httpx.get(f"{urls['']}/openapi.json", timeout=PATIENCE).json()["paths"]
    there = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert {(row.method, row.path) for row in ROWS} == there - OPEN
    assert all(row.bad is not None or "_id}" in row.path for row in ROWS)
    assert all(row.needs for row in ROWS)


@every
def test_success(
    row: Row, urls: dict[str, str], ready: Any, prefect_client: SyncPrefectClient
) -> None:
    path, given = ready(row)
    answer = ask(urls[""], row, path, given)
    assert answer.status_code == row.status, answer.text
    if answer.content and answer.headers.get("content-type") == "application/json":
        run = answer.json().get("flow_run_id") if isinstance(answer.json(), dict) else None
        if run is not None and row.status == 202 and not path.endswith("/cancel"):
            prefect_client.delete_flow_run(run)


@every
def test_bad_input(row: Row, urls: dict[str, str], ready: Any) -> None:
    if row.code == "method-not-allowed":
        answer = ask(urls[""], row, row.path, {}, method="PUT")
        problem(answer, 405, row.code)
        assert "PUT" not in answer.headers["allow"]
        return
    if row.bad is None:
        path = re.sub("{[a-z]+_id}", "no-id", row.path)
    else:
        path, _ = ready(row)
    refused(row, ask(urls[""], row, path, row.bad or {}), 422, row.code)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "json" in (row.ok or row.bad or {})], ids=lambda row: row.name
)
def test_a_member_that_nobody_knows(row: Row, urls: dict[str, str], ready: Any) -> None:
    """A misspelt option must not be an option that is left out."""
    path, given = ready(row)
    asked = {"json": {**given.get("json", {}), "odd": True}}
    refused(row, ask(urls[""], row, path, asked), 422, row.code)


@every
def test_no_right(
    row: Row, urls: dict[str, str], ready: Any, scoped: dict[Scope, tuple[str, str]]
) -> None:
    path, given = ready(row, refused=True)
    for key, status, code in (
        (None, 401, "unauthorized"),
        ("a wrong key", 401, "unauthorized"),
        (scoped[row.scope][0], 403, "forbidden"),
    ):
        refused(row, ask(urls[""], row, path, given, key), status, code)


@pytest.mark.parametrize(
    ("row", "away"),
    [
        pytest.param(
            row,
            each,
            id=f"{row.name}-{each}",
            marks=[pytest.mark.long] if each == "catalog" and row.method != "POST" else [],
        )
        for row in ROWS
        for each in row.needs
    ],
)
def test_what_it_leans_on_is_away(row: Row, away: str, urls: dict[str, str], ready: Any) -> None:
    path, given = ready(row)
    answer = ask(urls[away], row, path, given)
    assert answer.status_code >= 500, answer.text
    if row.method == "HEAD":
        return
    if row.path == f"{PATH}/verify":
        [fact] = [f for f in answer.json()["facts"] if f["name"] in (away, "database")[:1]] or [
            f for f in answer.json()["facts"] if f["name"] == "database"
        ]
        assert fact["state"] == "red"
        return
    body = answer.json()
    assert body["code"] in NOT_THERE[away]
    problem(answer, answer.status_code, body["code"])
    documented = httpx.get(f"{urls['']}/openapi.json", timeout=PATIENCE).json()["paths"][row.path]
    assert str(answer.status_code) in documented[row.method.lower()]["responses"]
