"""A small database of conversations, and everything that a snapshot gives of it."""

from __future__ import annotations

from contextlib import closing

import psycopg

from convault.dataset.scope import Scope
from convault.models import Range, Table, TableName
from convault.ranges.ranges import cut
from convault.sources.base import Snapshot
from convault.sources.postgres import PostgresSource

CONVERSATIONS = TableName("public", "conversations")
MESSAGES = TableName("public", "messages")

TABLES = """
    CREATE TABLE conversations (id bigint PRIMARY KEY, title text);
    CREATE TABLE messages (
        id bigint PRIMARY KEY,
        conversation_id bigint NOT NULL REFERENCES conversations,
        body text
    );
    INSERT INTO conversations SELECT g, 'conversation ' || g FROM generate_series(1, 20) g;
    INSERT INTO messages SELECT g, g % 20 + 1, 'message ' || g FROM generate_series(1, 500) g;
"""

Row = tuple[object, ...]


def run(url: str, sql: str) -> list[Row]:
    """Run `sql` in a connection of its own; the rows of its last statement, if it gives any."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        cursor = connection.execute(sql)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []


def source(url: str, *, lock_timeout: float = 10) -> PostgresSource:
    return PostgresSource(url, scope=Scope(CONVERSATIONS, MESSAGES), lock_timeout=lock_timeout)


def table(snapshot: Snapshot, name: str) -> Table:
    """The table of the dataset with this name, in whatever schema."""
    return next(t for t in snapshot.dataset.tables if t.name.name == name)


def whole(snapshot: Snapshot, name: str) -> Range:
    return Range(table(snapshot, name).name, 0, None)


def read(snapshot: Snapshot, range_: Range, *, skip_rows: int = 0) -> list[Row]:
    """The rows of a range, values as they arrive."""
    found: list[Row] = []
    for batch in snapshot.read(range_, skip_rows=skip_rows):
        columns = [column.to_pylist() for column in batch.columns]
        found += zip(*columns, strict=True) if columns else [()] * batch.num_rows
    return found


def read_all(snapshot: Snapshot, *, range_pages: int = 3) -> dict[str, list[Row]]:
    """Every row of every table, range by range, each table's count checked."""
    rows: dict[str, list[Row]] = {}
    for table in snapshot.dataset.tables:
        size = snapshot.heap_bytes(table)
        ranges = cut(table.name, size, snapshot.page_bytes, range_pages)
        found = [row for range_ in ranges for row in read(snapshot, range_)]
        assert len(found) == snapshot.count(table), table.name
        rows[table.name.name] = found
    return rows
