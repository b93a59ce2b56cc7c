"""The ranges of a table together give each of its visible rows once, as Postgres' own text."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convault.embedded.server import EmbeddedPostgres
from convault.models import TableName
from convault.ranges.ranges import cut
from convault.sources.readers import range_query
from convault.sources.session import connect
from tests.soak import count
from tests.sources.reading import (
    MESSAGES,
    TABLES,
    read,
    read_all,
    run,
    source,
    table,
    whole,
)

NewDatabase = Callable[[EmbeddedPostgres], str]

BLOATED = """
    CREATE TABLE conversations (id bigint PRIMARY KEY, title text);
    CREATE TABLE messages (
        id bigint NOT NULL, gone int, conversation_id bigint REFERENCES conversations,
        body text, tags text[], ok boolean, size smallint, at timestamptz
    ) PARTITION BY RANGE (id);
    CREATE TABLE messages_0 PARTITION OF messages FOR VALUES FROM (0) TO (2000)
        PARTITION BY RANGE (id);
    CREATE TABLE messages_0a PARTITION OF messages_0 FOR VALUES FROM (0) TO (1000);
    CREATE TABLE messages_0b PARTITION OF messages_0 FOR VALUES FROM (1000) TO (2000);
    CREATE TABLE messages_1 PARTITION OF messages DEFAULT;
    ALTER TABLE messages DROP COLUMN gone;
    CREATE TABLE notes (id int, conversation_id bigint REFERENCES conversations, note text);
    CREATE TABLE notes_archive (archived date) INHERITS (notes);
    INSERT INTO conversations SELECT g, 'conversation ' || g FROM generate_series(1, 50) g;
    INSERT INTO messages
        SELECT g, g % 50 + 1,
            CASE WHEN g % 97 = 0
                THEN (SELECT string_agg(md5(g::text || i::text), '') FROM generate_series(1, 400) i)
                ELSE repeat('text ', g % 40) END,
            CASE WHEN g % 3 = 0 THEN ARRAY['a', g::text, NULL] END,
            CASE g % 3 WHEN 0 THEN true WHEN 1 THEN false END,
            g % 100,
            timestamptz '2024-01-01 12:00+00' + g * interval '1 minute'
        FROM generate_series(1, 3000) g;
    INSERT INTO notes SELECT g, g % 50 + 1, 'note ' || g FROM generate_series(1, 300) g;
    INSERT INTO notes_archive SELECT g, 1, 'old ' || g, '2020-01-01' FROM generate_series(1, 99) g;
    UPDATE messages SET body = body || '!' WHERE id % 4 = 0;
    UPDATE messages SET id = id + 1000 WHERE id BETWEEN 900 AND 950;
    UPDATE messages SET ok = NOT ok WHERE id % 7 = 0;
    DELETE FROM messages WHERE id % 5 = 0;
    DELETE FROM ONLY notes WHERE id > 20 AND id < 280;
    UPDATE notes SET note = note || '?' WHERE id % 2 = 0;
"""


def logical_rows(url: str, table: str) -> list[tuple[object, ...]]:
    """All rows of one table in the order of its pages, as text where they are not plain."""
    with closing(connect(url)) as connection:
        found = connection.execute(f"SELECT * FROM ONLY public.{table} ORDER BY ctid".encode())
        oids = [column.type_code for column in found.description or ()]
        plain = {16, 20, 21, 23}
        # Values are fetched as text: psycopg's own conversion would not be Postgres' text.
        rows = []
        for number in range(found.rowcount):
            row: list[object] = []
            for place, oid in enumerate(oids):
                raw = found.pgresult.get_value(number, place)  # type: ignore[union-attr]
                text = None if raw is None else raw.decode()
                if text is None or oid not in plain:
                    row.append(text)
                else:
                    row.append(text == "t" if oid == 16 else int(text))
            rows.append(tuple(row))
        return rows


@pytest.fixture
def bloated(any_cluster: EmbeddedPostgres, new_database: NewDatabase) -> str:
    url = new_database(any_cluster)
    run(url, BLOATED)
    return url


def test_all_ranges_together_are_the_whole_table_in_page_order(bloated: str) -> None:
    with source(bloated).snapshot() as snapshot:
        for range_pages in (1, 3, 1000):
            rows = read_all(snapshot, range_pages=range_pages)
            assert sum(map(len, rows.values())) > 2000
            for name, found in rows.items():
                assert found == logical_rows(bloated, name), name
        names = [t.name.name for t in snapshot.dataset.tables]
    assert names.index("messages") < names.index("messages_0") < names.index("messages_0a")
    assert names.index("notes") < names.index("notes_archive")
    assert rows["messages"] == rows["messages_0"] == []
    assert len(rows["notes_archive"]) == 99


def test_integers_and_booleans_arrive_as_such_and_the_rest_as_text(bloated: str) -> None:
    with source(bloated).snapshot() as snapshot:
        batch, *_ = list(snapshot.read(whole(snapshot, "messages_0a")))
        columns = table(snapshot, "messages_0a").columns
    assert [c.name for c in columns] == batch.schema.names
    assert dict(zip(batch.schema.names, batch.schema.types, strict=True)) == {
        "id": pa.int64(), "conversation_id": pa.int64(), "body": pa.string(), "tags": pa.string(),
        "ok": pa.bool_(), "size": pa.int16(), "at": pa.string(),
    }  # fmt: skip
    assert [c.encoding for c in columns] == [
        "integer", "integer", "text", "text", "boolean", "integer", "text",
    ]  # fmt: skip


def test_what_comes_after_the_snapshot_is_not_read(any_cluster: EmbeddedPostgres,
    new_database: NewDatabase) -> None:  # fmt: skip
    url = new_database(any_cluster)
    run(url, TABLES)
    before = logical_rows(url, "messages")
    with source(url).snapshot() as snapshot:
        # No reader has connected yet: it must not take a snapshot of its own.
        run(url, "DELETE FROM messages WHERE id > 400; UPDATE messages SET body = 'changed'")
        assert read_all(snapshot)["messages"] == before
        run(url, "INSERT INTO messages SELECT g, 1, 'late' FROM generate_series(1000, 9000) g")
        run(url, "VACUUM messages")
        assert read_all(snapshot)["messages"] == before
    assert len(before) == 500


def test_a_reader_goes_on_after_the_rows_it_has(bloated: str) -> None:
    with source(bloated).snapshot() as snapshot:
        range_ = whole(snapshot, "messages_0a")
        everything = read(snapshot, range_)
        for skip in (0, 1, 137, len(everything) - 1, len(everything), len(everything) + 5):
            assert read(snapshot, range_, skip_rows=skip) == everything[skip:]


def test_a_range_is_read_as_a_tid_range_scan(any_cluster: EmbeddedPostgres,
    new_database: NewDatabase) -> None:  # fmt: skip
    url = new_database(any_cluster)
    run(url, TABLES + "INSERT INTO messages SELECT g, 1, repeat('x', 200)"
                      " FROM generate_series(501, 20000) g; ANALYZE")  # fmt: skip
    with source(url).snapshot() as snapshot:
        messages = table(snapshot, "messages")
        pages = snapshot.heap_bytes(messages) // snapshot.page_bytes
        assert pages > 500
        ranges = cut(MESSAGES, snapshot.heap_bytes(messages), snapshot.page_bytes, 100)
    with closing(connect(url)) as connection:
        for range_ in (ranges[0], ranges[3], ranges[-1]):
            for skip in (0, 10):
                plan = connection.execute(
                    f"EXPLAIN (FORMAT json) {range_query(messages, range_, skip)}".encode()
                ).fetchone()
                assert plan is not None
                assert "Tid Range Scan" in json.dumps(plan[0])


def test_tables_without_columns_or_rows(any_cluster: EmbeddedPostgres,
    new_database: NewDatabase) -> None:  # fmt: skip
    url = new_database(any_cluster)
    run(url, TABLES + """
        CREATE TABLE bare (conversation_id bigint REFERENCES conversations);
        INSERT INTO bare SELECT 1 FROM generate_series(1, 1000);
        CREATE TABLE base ();
        INSERT INTO base SELECT FROM generate_series(1, 777);
        CREATE TABLE heir (conversation_id bigint REFERENCES conversations) INHERITS (base);
        CREATE TABLE empty (conversation_id bigint REFERENCES conversations);
    """)  # fmt: skip
    with source(url).snapshot() as snapshot:
        rows = read_all(snapshot)
        assert table(snapshot, "base").columns == ()
        assert table(snapshot, "heir").parents == (TableName("public", "base"),)
        batches = list(snapshot.read(whole(snapshot, "base"), skip_rows=7))
        assert sum(batch.num_rows for batch in batches) == 770
    assert rows["base"] == [()] * 777
    assert rows["empty"] == []


@pytest.mark.soak
@settings(
    max_examples=count(10, 200),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_history_of_a_table_is_read_exactly(database: str, data: st.DataObject) -> None:
    """Random inserts, updates, deletes, vacuums; then every row once, whatever the ranges."""
    run(database, "DROP TABLE IF EXISTS messages, conversations;" + TABLES)
    step = st.one_of(
        st.builds("INSERT INTO messages SELECT {0} * 1000 + g, 1, repeat('z', {1}) "
                  "FROM generate_series(1, {2}) g ON CONFLICT DO NOTHING".format,
                  st.integers(1, 9), st.integers(0, 3000), st.integers(1, 60)),
        st.builds("DELETE FROM messages WHERE id % {} = 0".format, st.integers(1, 5)),
        st.builds("UPDATE messages SET body = repeat(md5(id::text), {}) WHERE id % {} = 0".format,
                  st.integers(0, 400), st.integers(1, 5)),
        st.just("VACUUM messages"),
        st.just("VACUUM FULL messages"),
        st.just("TRUNCATE messages"),
    )  # fmt: skip
    for sql in data.draw(st.lists(step, max_size=6)):
        run(database, sql)
    with source(database).snapshot() as snapshot:
        rows = read_all(snapshot, range_pages=data.draw(st.integers(1, 6)))
    assert rows["messages"] == logical_rows(database, "messages")
