"""README.txt does as it says: its commands are run on a backup as they stand there."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import duckdb
import polars
import pytest

from convault.archive.composed import Archive
from convault.models import Absence, BackupFormat, BackupOptions, TableName
from convault.readme import text as readme
from tests.handmade import (
    BACKUP,
    CONVERSATIONS,
    MESSAGES,
    ODD,
    TAKEN,
    dataset,
    new_backup,
    new_repository,
)

ABSENT = (
    Absence(TableName("public", "audits"), None, "excluded"),
    Absence(TableName("public", "audit_details"), None, "unreachable"),
    Absence(MESSAGES, "raw", "excluded"),
)

LEVELS = pytest.mark.parametrize("level", [0, 3])
FORMATS = pytest.mark.parametrize("format", list(BackupFormat))
JSON = BackupFormat.JSON


def text(level: int = 3, format: BackupFormat = JSON) -> str:
    about = dataset([CONVERSATIONS, MESSAGES, ODD])
    options = BackupOptions(compression_level=level, format=format)
    return readme.text(BACKUP, TAKEN, about, options).decode()


def commands(level: int, format: BackupFormat) -> list[str]:
    """What is set apart by an indent of four after a sentence that ends with a colon."""
    english = text(level, format).partition("COMO ABRIR")[0].partition("HOW TO OPEN IT")[2]
    block = english.partition("WHAT THE VALUES MEAN")[0]
    return re.findall(r"^    (\S.*)$", block, re.MULTILINE)


def test_what_was_left_out_is_told_in_both_languages() -> None:
    about = dataset([CONVERSATIONS, MESSAGES])
    root = about.tables[0]
    id_, title, open_ = root.columns
    columns = (id_, replace(title, mask="hash"), replace(open_, mask="null"))
    users = replace(root, name=TableName("auth", "users"), reference_only=True)
    tables = (replace(root, columns=columns), about.tables[1], users)
    told = readme.text(
        BACKUP, TAKEN, replace(about, tables=tables, absent=ABSENT), BackupOptions()
    ).decode()
    english, _, portuguese = told.partition("Em português: mais abaixo")[2].partition("-----")
    for part, title_ in ((english, "WHAT IS NOT HERE"), (portuguese, "O QUE NÃO ESTÁ AQUI")):
        section = part.partition(title_)[2].partition("\n\n")[0]
        names = re.findall(r"^    (\S+)$", section, re.MULTILINE)
        assert names == [
            "public.audits", "public.audit_details", "public.messages.raw",
            "public.conversations.open", "public.conversations.title", "auth.users",
        ]  # fmt: skip


def test_where_nothing_was_left_out_nothing_is_said_of_it() -> None:
    assert "WHAT IS NOT HERE" not in text()
    assert "O QUE NÃO ESTÁ AQUI" not in text()


@LEVELS
@FORMATS
def test_its_commands_work(tmp_path: Path, level: int, format: BackupFormat) -> None:
    repository = new_repository()
    manifest = new_backup(repository, level=level, format=format)
    repository.put_manifest(manifest)
    archive = Archive(repository, BACKUP)
    (tmp_path / archive.file_name).write_bytes(b"".join(archive.stream()))
    for command in commands(level, format):
        if command.startswith(("tar", "sha256sum", "zstd", "cat")):
            subprocess.run(
                ["bash", "-eo", "pipefail", "-c", command],
                cwd=tmp_path, check=True, capture_output=True,
            )  # fmt: skip
    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        for query in queries(level, format):
            found = connection.execute(query.replace("'", f"'{tmp_path}/", 1)).fetchone()
            assert found is not None
            assert found == (manifest.tables[0].rows,) or "LIMIT" in query
    for call in (c for c in commands(level, format) if c.startswith("polars.")):
        at_hand = call.replace('"', f'"{tmp_path}/', 1)
        assert len(eval(at_hand, {"polars": polars})) == manifest.tables[0].rows


def queries(level: int, format: BackupFormat) -> list[str]:
    found = [c for c in commands(level, format) if c.startswith("duckdb")]
    return [c.partition('"')[2].rpartition('"')[0] for c in found]


@LEVELS
@FORMATS
def test_there_is_a_command_of_each_kind(level: int, format: BackupFormat) -> None:
    first = [command.split()[0].partition("(")[0] for command in commands(level, format)]
    reader = "duckdb" if format is BackupFormat.PARQUET else "zstd" if level else "cat"
    polars = "polars.read_" + ("ndjson" if format is JSON else format.value)
    assert first == ["tar", "sha256sum", reader, "duckdb", "import", polars]


@FORMATS
def test_only_a_backup_in_csv_warns_of_spreadsheets(format: BackupFormat) -> None:
    english, portuguese = text(format=format).split("-" * 80)
    both = {"Excel", "LibreOffice", "65001"}
    for part, words in (
        (english, {"DOUBLE-CLICK", "formula", "accents", "separator", "semicolon"}),
        (portuguese, {"DUPLO CLIQUE", "fórmula", "acentos", "separador", "ponto e vírgula"}),
    ):
        found = {word for word in words | both if word in part}
        assert found == (words | both if format is BackupFormat.CSV else set())


@FORMATS
def test_says_the_same_in_both_languages(format: BackupFormat) -> None:
    english, portuguese = text(format=format).split("-" * 80)
    indented = [re.findall(r"^    (\S.*)$", part, re.MULTILINE) for part in (english, portuguese)]
    assert indented[0] == indented[1]
    assert len(indented[0]) == 9
    for part in (english, portuguese):
        for word in ("datapackage.json", "SHA256SUMS", "schema.sql", str(BACKUP),
                     "2026-03-14 15:09:26 UTC", "bytea (\\x00ff)", "{a,b}",
                     "convault restore"):  # fmt: skip
            assert word in part


@pytest.mark.parametrize("format", [BackupFormat.JSON, BackupFormat.CSV])
def test_tells_null_from_an_empty_string(format: BackupFormat) -> None:
    english, portuguese = text(format=format).split("-" * 80)
    assert 'SQL NULL; an empty string is ""' in english
    assert 'NULL do SQL; um texto vazio é ""' in portuguese


def test_names_every_folder() -> None:
    for folder in ("conversations/", "messages/",
                   "=46ale=20=43onosco/=4densagens=2fa=c3=a7=c3=a3o/"):  # fmt: skip
        assert text().count(f"    {folder}\n") == 2


def test_the_same_bytes_for_the_same_values() -> None:
    assert text() == text()
    elsewhere = TAKEN.astimezone(__import__("zoneinfo").ZoneInfo("Asia/Kolkata"))
    about = dataset([CONVERSATIONS])
    assert readme.text(BACKUP, TAKEN, about, BackupOptions()) == readme.text(
        BACKUP, elsewhere, about, BackupOptions()
    )


@FORMATS
def test_lines_fit_a_terminal_unless_a_name_is_long(format: BackupFormat) -> None:
    for line in text(format=format).splitlines():
        assert len(line) <= 100 or "duckdb -c" in line


def test_braces_in_names_do_no_harm() -> None:
    name = TableName("{id}", "{0}")
    assert readme.text(BACKUP, TAKEN, dataset([name]), BackupOptions()).decode().count("=7b") >= 2
