"""Masked and excluded values never leave the database: not on the wire, and so nowhere else."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
import zstandard

from convault.archive.composed import Archive
from convault.catalog import BackupStatus
from convault.dataset.masking import MaskKey
from convault.embedded.server import EmbeddedPostgres
from convault.errors import ConvaultError
from convault.installation import initialise, open_installation
from convault.models import BackupFormat, BackupOptions, Range
from convault.repository import Repository
from convault.settings import Settings
from flows.backup import backup
from tests.canaries import Place, files, found, marker
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer
from tests.restore.builder import back_up
from tests.sensitive.school import KEY, in_memory, rows, scope, source
from tests.sensitive.wire import tapped

MASKS: dict[str, Any] = {
    "crm.contacts.email": "hash",
    "crm.contacts.phone": "hash",
    "conversations.reply_to": "hash",
    "messages.body": "null",
    "messages.sender": "hash",
    "ratings.fast": "hash",
}
FAST = """
    ALTER TABLE ratings ADD fast text DEFAULT 'canary' || 'fast', ADD faster text
        DEFAULT 'canary' || 'fast';
    ALTER TABLE ratings ALTER fast DROP DEFAULT, ALTER faster DROP DEFAULT;
"""
"""A fast default is the value of all rows that were there, and stands in the catalog."""
COLUMNS = ["crm.contacts.note", "audits.what", "crm.contacts.shout", "ratings.faster"]
TABLES = ["audit_details"]
HIDDEN = {"canarymail", "canaryphone", "canarybody", "canarynote", "canaryaudit", "canarydetail",
          "canaryfast"}  # fmt: skip
SHOWN = {"canaryname"}


@pytest.fixture
def school(school: str) -> str:
    """With fast defaults."""
    with psycopg.connect(school, autocommit=True) as connection:
        connection.execute(FAST)
    return school


def words_in(places: list[Place]) -> set[str]:
    return {word for word, _ in found(HIDDEN | SHOWN, places)}


@pytest.mark.parametrize("format", list(BackupFormat))
def test_the_server_does_not_say_them(school: str, format: BackupFormat) -> None:
    with tapped(school) as wire:
        back_up(in_memory(), wire.url, format=format)
        assert words_in([("the wire", wire.from_server)]) == HIDDEN | SHOWN
    with tapped(school) as wire:
        asked = scope(tables=TABLES, columns=COLUMNS, masks=MASKS)
        back_up(in_memory(), wire.url, scope=asked, format=format)
        assert words_in([("the wire", wire.from_server)]) == SHOWN


def test_the_key_stands_in_no_query_and_is_not_sent_back(school: str) -> None:
    """`pg_stat_activity` shows queries to other roles that may see them."""
    forms = [KEY.decode(), KEY.hex(), *MaskKey(KEY).pads()]
    with tapped(school) as wire:
        asked = source(wire.url, scope(masks=MASKS))
        with asked.snapshot() as snapshot:
            for table in snapshot.dataset.tables:
                if table.name.name == "contacts":
                    list(snapshot.read(Range(table.name, 0, None)))
            with psycopg.connect(school) as connection:
                queries = [
                    query
                    for (query,) in connection.execute(
                        "SELECT query FROM pg_stat_activity WHERE datname = current_database()"
                    )
                ]
        assert any("convault.mask_inner" in query for query in queries)
        assert not [f for f in forms for query in queries if f in query]


@pytest.mark.prefect_server
@pytest.mark.events
@pytest.mark.xdist_group("prefect")
def test_nothing_that_is_kept_or_told_holds_them(
    school: str,
    cluster: EmbeddedPostgres,
    prefect_api: PrefectServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run that succeeds, and one that fails while it reads masked rows."""
    key = marker("maskkey")
    (tmp_path / "store").mkdir(mode=0o700)
    environment = {
        "DATABASE_URL": school,
        "CONVAULT_STORE_URL": (tmp_path / "store").as_uri(),
        "CONVAULT_MASK_KEY": key,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(**{name.lower(): value for name, value in environment.items()})
    initialise(settings)
    asked = {"exclude_tables": TABLES, "exclude_columns": COLUMNS, "mask_columns": MASKS}
    record = backup(BackupOptions.parse({**asked, "format": "csv"}))
    assert record.status is BackupStatus.COMPLETED
    parts = contents(open_installation(settings).repository, record.id)
    with psycopg.connect(school) as connection:
        connection.execute(
            "ALTER TABLE crm.contacts ADD number integer"
            " GENERATED ALWAYS AS (name::integer) VIRTUAL"
        )
    with pytest.raises(ConvaultError) as failed:
        backup(BackupOptions.parse(asked))
    said = capfd.readouterr()
    places = {
        "Prefect": written(prefect_api, [f"record {record.id}", failed.value.message]),
        "catalog": [
            ("backups", row.encode()) for (row,) in rows(school, "SELECT t::text FROM backups t")
        ],
        "output": [("stdout", said.out.encode()), ("stderr", said.err.encode())],
        "log": [("log", caplog.text.encode())],
        "error": [("error", (repr(failed.value) + repr(vars(failed.value))).encode())],
        "store": [*files(tmp_path / "store")],
    }
    for name, place in places.items():
        assert found(HIDDEN | {key}, place) == set(), name
    assert found({key}, parts) == set()
    assert words_in(parts) == SHOWN
    assert len(places["catalog"]) == 2


def written(server: PrefectServer, signs: list[str]) -> list[Place]:
    """What Prefect keeps, once it has written that of the last of the runs."""
    deadline = time.monotonic() + PATIENCE
    while True:
        places = list(files(server.home))
        if {word for word, _ in found(signs, places)} == set(signs):
            return places
        assert time.monotonic() < deadline
        time.sleep(1)


def contents(repository: Repository, backup_id: Any) -> list[Place]:
    """Every member of the tar, as readable as it gets."""
    archive = Archive(repository, backup_id)
    made = []
    for member in archive.members:
        data = member.content
        if isinstance(data, str):
            data = repository.store.get(data)
        if member.path.endswith(".zst"):
            data = zstandard.ZstdDecompressor().stream_reader(
                io.BytesIO(data), read_across_frames=True
            ).read()  # fmt: skip
        elif member.path.endswith(".parquet"):
            table = pl.read_parquet(io.BytesIO(data))
            data = table.drop(pl.selectors.binary(), strict=False).write_csv().encode()
        made.append((member.path, data))
    return made
