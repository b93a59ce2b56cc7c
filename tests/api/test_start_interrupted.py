"""`POST` when something breaks between the row and the run, or right after.

`start_backup` is replaced here: no real server fails at will in a way that nobody foresaw, or at
the moment between two statements of the API.
"""

from __future__ import annotations

from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from api.routes import backups
from convault.catalog.base import BackupStatus, Catalog
from convault.embedded.server import EmbeddedPostgres
from convault.errors import PrefectUnavailable
from convault.models import BackupOptions
from convault.settings import Settings
from tests.serving import PATH, problem


def test_an_unforeseen_error_fails_the_row_and_tells_nothing(
    client: httpx.Client, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(options: BackupOptions, backup_id: UUID) -> UUID:
        raise RuntimeError("password=secret-password")

    monkeypatch.setattr(backups, "start_backup", start)
    answer = client.post(PATH)
    problem(answer, 500, "unexpected")
    [row] = catalog.list()
    assert row.status == BackupStatus.FAILED
    assert row.error == "The run was not started: see the API's log"
    assert "secret-password" not in answer.text + client.get(PATH).text


def test_a_run_that_was_started_is_not_denied(
    client: httpx.Client,
    catalog: Catalog,
    cluster: EmbeddedPostgres,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error would invite the client to start a second one."""
    name = settings.catalog_url().partition("?")[0].rpartition("/")[2]
    flow_run_id = uuid4()

    def allow(connections: bool) -> None:
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {connections}")

    def start(options: BackupOptions, backup_id: UUID) -> UUID:
        allow(False)
        return flow_run_id

    monkeypatch.setattr(backups, "start_backup", start)
    try:
        answer = client.post(PATH)
    finally:
        allow(True)
    assert answer.status_code == 202, answer.text
    [row] = catalog.list()
    assert answer.json() == {**row.model_dump(mode="json"), "flow_run_id": str(flow_run_id)}
    assert answer.headers["location"] == f"{PATH}/{row.id}"
    assert row.status == BackupStatus.PENDING


def test_a_run_that_began_although_the_answer_was_lost_is_not_failed(
    client: httpx.Client, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow_run_id = uuid4()

    def start(options: BackupOptions, backup_id: UUID) -> UUID:
        with catalog.begin(backup_id, options.to_json(), flow_run_id):
            raise PrefectUnavailable("The Prefect server cannot be reached (ReadTimeout).")

    monkeypatch.setattr(backups, "start_backup", start)
    answer = client.post(PATH)
    assert answer.status_code == 202, answer.text
    [row] = catalog.list()
    assert answer.json()["id"] == str(row.id)
    assert row.status == BackupStatus.PROCESSING
    assert row.flow_run_id == flow_run_id
    assert row.error is None
