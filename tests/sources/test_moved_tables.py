"""Schemas that are renamed while their tables are locked: no lock on a table keeps that away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from convault.errors import SnapshotLost
from convault.models import Dataset
from convault.sources import postgres
from convault.sources.base import Snapshot
from tests.sources.reading import TABLES, read, read_all, run, source, table, whole

NAMESAKES = """
    CREATE SCHEMA other;
    CREATE TABLE other.conversations (LIKE conversations INCLUDING ALL);
    CREATE TABLE other.messages (LIKE messages INCLUDING ALL);
    ALTER TABLE other.messages ADD FOREIGN KEY (conversation_id) REFERENCES other.conversations;
    CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.noticed ();
"""
"""Without rows; and a table that nobody locks."""
AWAY = "ALTER SCHEMA public RENAME TO old;"
SWAP = AWAY + "ALTER SCHEMA other RENAME TO public;"
SWAP_BACK = "ALTER SCHEMA public RENAME TO other; ALTER SCHEMA old RENAME TO public"


@pytest.fixture
def snapshot(database: str) -> Iterator[Snapshot]:
    run(database, TABLES + NAMESAKES)
    with (
        pytest.raises(SnapshotLost, match="public was changed"),  # whatever was read
        source(database).snapshot() as snapshot,
    ):
        yield snapshot


def test_rows_are_of_the_locked_tables_or_there_are_none(database: str, snapshot: Snapshot) -> None:
    """A connection that looked the names up before goes on with the right tables; one that did not
    finds namesakes."""
    run(database, SWAP)
    try:
        rows = read_all(snapshot)
    except SnapshotLost:
        return
    assert {name: len(found) for name, found in rows.items()} == {
        "conversations": 20, "messages": 500,
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [SWAP, "ALTER TABLE other.conversations DROP COLUMN title;" + SWAP, AWAY],
    ids=["namesake", "namesake with other columns", "nothing of that name"],
)
def test_a_connection_that_comes_later_reads_no_namesake(
    change: str, database: str, snapshot: Snapshot
) -> None:
    before = snapshot.read(whole(snapshot, "messages"))
    rows = next(before).num_rows
    run(database, change)
    with pytest.raises(SnapshotLost, match="a schema was renamed"):
        read(snapshot, whole(snapshot, "conversations"))
    assert rows + sum(batch.num_rows for batch in before) == 500


@pytest.mark.parametrize("change", [SWAP, AWAY], ids=["namesake", "nothing of that name"])
def test_a_connection_that_hears_of_it_late_reads_no_namesake(
    change: str, database: str, snapshot: Snapshot
) -> None:
    assert isinstance(snapshot, postgres.PostgresSnapshot)
    assert len(read(snapshot, whole(snapshot, "messages"))) == 500
    run(database, change)
    (connection,) = snapshot._readers._idle
    with closing(connection.cursor()) as cursor:  # a new lock brings the news
        cursor.execute("SELECT FROM elsewhere.noticed")
    with pytest.raises(SnapshotLost, match=r"public\.conversations cannot be found by name"):
        read(snapshot, whole(snapshot, "conversations"))


@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE other.messages DROP COLUMN conversation_id;" + SWAP, AWAY],
    ids=["namesake with other columns", "nothing of that name"],
)
def test_a_table_that_tells_the_conversation_is_missed_as_well(change: str, database: str) -> None:
    """Rows beyond messages are read with a query that names messages too."""
    beyond = "CREATE SCHEMA side; CREATE TABLE side.files (message_id bigint REFERENCES messages);"
    run(database, TABLES + NAMESAKES + beyond + "INSERT INTO side.files VALUES (1), (2)")
    with (  # noqa: PT012  the end of the block raises too
        pytest.raises(SnapshotLost, match="public was changed"),
        source(database).snapshot() as snapshot,
    ):
        assert read(snapshot, whole(snapshot, "files")) == [(1, 2), (2, 3)]
        before = snapshot.read(whole(snapshot, "messages"))
        next(before)
        run(database, change)
        with pytest.raises(SnapshotLost, match="a schema was renamed"):
            read(snapshot, whole(snapshot, "files"))
        assert not list(before)


@pytest.mark.parametrize("change", [SWAP, AWAY], ids=["namesake", "nothing of that name"])
def test_namesakes_are_not_counted(change: str, database: str, snapshot: Snapshot) -> None:
    assert isinstance(snapshot, postgres.PostgresSnapshot)
    run(database, change)
    snapshot._exporter.execute("SELECT FROM elsewhere.noticed")  # a new lock brings the news
    with pytest.raises(SnapshotLost, match=r"public\.messages cannot be found by name"):
        snapshot.count(table(snapshot, "messages"))


def test_the_lock_is_on_the_tables_that_were_found(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Namesakes there only while the lock is taken are locked in the tables' place."""
    run(database, TABLES + NAMESAKES)
    original = postgres.lock
    locked: list[bool] = []

    def lock(connection: psycopg.Connection, dataset: Dataset) -> bool:
        if locked:
            return original(connection, dataset)
        run(database, SWAP)
        locked.append(original(connection, dataset))
        run(database, SWAP_BACK)
        return locked[0]

    monkeypatch.setattr(postgres, "lock", lock)
    with source(database).snapshot():
        assert locked == [True]
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(database, "SET lock_timeout = '100ms'; TRUNCATE messages")
