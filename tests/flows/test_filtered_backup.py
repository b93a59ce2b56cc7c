"""A filtered backup through the flow and the command: what it holds, and that it says so."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from convault.archive.composed import Archive
from convault.catalog.base import BackupStatus
from convault.errors import ConvaultError, MissingTable, OptionsError
from convault.manifest import Manifest
from convault.models import BackupOptions
from convault.restore import restore
from flows.artifacts import _result
from flows.backup import backup
from tests.flows.application import Application
from tests.sources.reading import run

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]


def readme_of(application: Application, manifest: Manifest) -> str:
    archive = Archive(application.installation().repository, manifest.backup_id)
    (member,) = [m for m in archive.manifest.members if m.path == "README.txt"]
    return application.installation().repository.store.get(member.key).decode()


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_it_holds_what_matches_and_says_so(application: Application, empty: str) -> None:
    options = BackupOptions.parse(
        {"channelIds": [2], "startDate": "2026-01-01T10:00:00Z", "endDate": "2026-01-01"}
    )
    record = backup(options)
    assert record.status is BackupStatus.COMPLETED
    repository = application.installation().repository
    manifest = repository.manifest(record.id)
    chosen = (
        "SELECT id FROM conversations WHERE channel_id = 2 AND created_at >= '2026-01-01 10:00+00'"
        " AND created_at < '2026-01-02 00:00+00'"
    )
    said = f"SELECT * FROM messages WHERE conversation_id IN ({chosen})"
    restore(repository, manifest, empty)
    for query in (chosen, said, "SELECT * FROM channels WHERE id = 2"):
        rows = run(application.url, query)
        assert rows
        table = query.split(" WHERE")[0]
        assert sorted(map(str, run(empty, table))) == sorted(map(str, rows))
    assert manifest.selection is not None
    assert [(manifest.selection.conversations,)] == run(
        application.url, f"SELECT count(*) FROM ({chosen}) c"
    )
    assert manifest.selection.end == "2026-01-02T00:00:00+00:00"
    assert manifest.options == options.to_json()
    ranges = [entry for table in manifest.tables for entry in table.ranges]
    assert ranges
    assert {(entry.key, entry.reason) for entry in ranges} == {
        (None, "only some of its rows were selected")
    }
    assert record.metrics is not None
    assert record.metrics["rows"] == manifest.rows == record.rows

    asked = "1 channel, from 2026-01-01T10:00:00Z, through 2026-01-01"
    assert asked in told("list")
    shown = told("show", str(record.id))
    assert asked in shown
    assert "created before" in shown
    assert "2026-01-02T00:00:00+00:00" in shown
    readme = readme_of(application, manifest)
    english, portuguese = readme.split("Cópia de segurança")
    assert "A FILTERED BACKUP" in english
    assert asked in english
    assert "Created before 2026-01-02T00:00:00+00:00 (UTC)" in english
    assert "CÓPIA FILTRADA" in portuguese
    assert "1 canal, desde 2026-01-01T10:00:00Z, até 2026-01-01, inclusive" in portuguese
    assert f"Filtered: `{asked}`" in _result(record, manifest)


def test_one_that_matches_nothing_is_complete_and_empty(
    application: Application, empty: str
) -> None:
    record = backup(BackupOptions(start_date="2030-01-01"))
    assert record.status is BackupStatus.COMPLETED
    assert record.rows == 0
    repository = application.installation().repository
    manifest = repository.manifest(record.id)
    assert manifest.selection is not None
    assert manifest.selection.empty
    assert "nothing matched" in told("list")
    assert "nothing: this backup is empty" in told("show", str(record.id))
    assert '"empty": true' in told("show", str(record.id), "--json")
    assert "NOTHING MATCHED" in readme_of(application, manifest)
    assert "NADA FOI ENCONTRADO" in readme_of(application, manifest)
    assert "Nothing matched" in _result(record, manifest)
    restore(repository, manifest, empty)
    assert run(empty, "SELECT count(*) FROM messages") == [(0,)]


def test_tables_by_name_through_everything(application: Application, empty: str) -> None:
    run(application.url, 'CREATE SCHEMA "Loja"; CREATE TABLE "Loja"."order" (id integer);'
        'INSERT INTO "Loja"."order" SELECT generate_series(1, 10)')  # fmt: skip
    record = backup(BackupOptions(tables=("Loja.*",)))
    manifest = application.installation().repository.manifest(record.id)
    assert (manifest.root, manifest.index, record.rows) == (None, None, 10)
    assert "tables Loja.*" in told("list")
    assert "tables Loja.*" in told("show", str(record.id))
    readme = readme_of(application, manifest)
    assert "=4coja/order/00000.ndjson.zst" in readme
    assert "index.parquet" not in readme
    assert "PART OF THE DATA ONLY (tables Loja.*)" in readme
    restore(application.installation().repository, manifest, empty)
    assert run(empty, 'SELECT count(*) FROM "Loja"."order"') == [(10,)]


REFUSED: list[tuple[list[str], type[ConvaultError]]] = [
    (["--conversation", "7", "--conversation", "x' OR true --"], OptionsError),
    (["--status", "open"], OptionsError),
    (["--participant", "1"], OptionsError),
    (["--start-date", "yesterday"], OptionsError),
    (["--start-date", "2026-01-02", "--end-date", "2026-01-01"], OptionsError),
    (["--tables", "sales.*"], OptionsError),
    (["--tables", "channels", "--no-messages"], OptionsError),
    (["--options", '{"conversationIds": []}'], OptionsError),
    (["--options", '{"conversations": [1]}'], OptionsError),
]


@pytest.mark.parametrize(("arguments", "error"), REFUSED)
def test_the_command_refuses_before_anything_starts(
    application: Application, monkeypatch: pytest.MonkeyPatch, arguments: list[str],
    error: type[ConvaultError],
) -> None:  # fmt: skip
    def never(*_: Any) -> None:
        raise AssertionError("Prefect was started")

    monkeypatch.setattr("cli.backups.load_flow", never)
    result = CliRunner().invoke(app, ["backup", *arguments])
    assert isinstance(result.exception, error), result.output
    assert application.installation().catalog.list() == []


def test_the_command_refuses_a_database_without_messages(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVAULT_MESSAGES_TABLE", "mesages")
    result = CliRunner().invoke(app, ["backup"])
    assert isinstance(result.exception, MissingTable)
    assert "public.messages" in result.exception.message
    assert application.installation().catalog.list() == []


def test_the_flow_refuses_it_again(application: Application) -> None:
    with pytest.raises(OptionsError, match="conversationIds: the value is no bigint"):
        backup(BackupOptions(conversation_ids=("x",)))
    [row] = application.installation().catalog.list()
    assert row.status is BackupStatus.FAILED


def test_prefect_takes_the_names_of_the_api() -> None:
    options = {"conversationIds": [1, "2"], "status": "open", "includeMessages": False}
    taken = backup.validate_parameters({"options": options})["options"]
    assert taken == BackupOptions.parse(options)
