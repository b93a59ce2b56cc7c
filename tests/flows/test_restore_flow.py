"""The restore flow: the same restore as without Prefect, with a task for each step."""

from __future__ import annotations

import json
import re
from uuid import UUID

import psycopg
import pytest

from convault.comparison import compare
from convault.errors import NotFoundError, RestoreError, SignatureError
from convault.restore import Changes, RestoreOptions
from flows.backup import backup
from flows.restore import restore
from tests.flows.application import Application
from tests.patience import awaited
from tests.prefect_server import PrefectServer

pytestmark = [
    pytest.mark.prefect_server,
    pytest.mark.events,
    pytest.mark.xdist_group("flows"),
]


@pytest.fixture
def target(application: Application, empty: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CONVAULT_TARGET_STAGING_URL", empty)
    return empty


def test_it_restores_by_names_alone_and_then_into_live_tables(
    application: Application, target: str, prefect_api: PrefectServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    record = backup()
    # No catalog is needed, and none is asked.
    monkeypatch.delenv("CONVAULT_CATALOG_URL")
    monkeypatch.delenv("DATABASE_URL")
    result = restore(record.id, "staging")
    tables = application.installation().repository.manifest(record.id).tables
    compared = compare(application.url, target, [table.name for table in tables])
    assert all(table.equal for table in compared)
    assert sum(result.rows.values()) == 2 + 50 + 2000
    with psycopg.connect(target) as connection:
        connection.execute("DELETE FROM messages WHERE conversation_id = 7")
    again = restore(record.id, "staging", RestoreOptions(conversations=("7",), mode="skip"))
    by_name = {name.name: change for name, change in again.changes.items()}
    assert by_name["messages"] == Changes(inserted=40)
    compared = compare(application.url, target, [table.name for table in tables])
    assert all(table.equal for table in compared)
    _steps_are_shown_and_nothing_secret_is(prefect_api, target)


def _steps_are_shown_and_nothing_secret_is(server: PrefectServer, target: str) -> None:
    runs = server.ask(
        "/flow_runs/filter",
        {"flows": {"name": {"any_": ["restore"]}}, "sort": "START_TIME_DESC", "limit": 2},
    )
    assert all(run["parameters"]["target"] == "staging" for run in runs)
    assert target not in json.dumps(runs)
    asked = {"flow_runs": {"id": {"any_": [run["id"] for run in runs]}}, "limit": 200}

    def names() -> set[str]:
        # A name is given after the run is made; the server may not have it yet.
        return {
            re.split("[ -]", task["name"])[0] for task in server.ask("/task_runs/filter", asked)
        }

    steps = {"download", "decompress", "deserialize", "load"}
    awaited(lambda: names() >= steps)  # the server writes them when it comes to it
    assert names() == steps


def test_what_cannot_be_is_an_error_of_convaults_own(
    application: Application, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = backup()
    with pytest.raises(NotFoundError, match="CONVAULT_TARGET_NOWHERE_URL"):
        restore(record.id, "nowhere")
    with pytest.raises(NotFoundError, match="no backup"):
        restore(UUID(int=7), "staging")
    with psycopg.connect(target) as connection:
        connection.execute("CREATE TABLE in_the_way ()")
    with pytest.raises(RestoreError, match="is not empty"):
        restore(record.id, "staging")
    monkeypatch.setenv("CONVAULT_SIGNING_KEY", "ab12cd34ef56ab78cd90" * 4)
    with pytest.raises(SignatureError, match="--trust"):
        restore(record.id, "staging")
