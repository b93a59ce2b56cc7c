"""The digest of a table's rows: the same on every server, another for any other rows."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from convault.comparison import _columns
from convault.dataset.filters import Filters
from convault.dataset.scope import Scope
from convault.embedded.server import EmbeddedPostgres
from convault.models import TableName
from convault.ranges import row_digest
from convault.sources import session
from convault.sources.postgres import PostgresSource
from tests.databases import drop_database

KNOWN = "afc45ad36ba91cb8"
"""of TYPES on any server; it must never change: digests of it are stored"""
TYPES = """
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TABLE t (id bigint PRIMARY KEY, t text, b boolean, f float8, n numeric, j json,
        k jsonb, x bytea, a text[], at timestamptz, d date, i interval, m mood, u uuid, c char(4),
        "select" int4range, inf date, ip inet);
    INSERT INTO t VALUES
        (1, 'olá 👋', true, 0.1, 'NaN', '{"a" : 1, "a":2}', '{"b": 1, "a": null}', '\\x00ff',
         ARRAY[NULL, '', 'x,"y'], '2026-03-14 15:09:26.535897+05:30', '0044-03-15 BC', '1 mon -2 days',
         'happy', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ab', '[1,5)', 'infinity', '10.0.0.1/8'),
        (2, '', false, '-0', 1e100, NULL, '[]', '', '{}', '-infinity', '9999-12-31', '0', 'sad',
         NULL, '', 'empty', NULL, '::1'),
        (3, NULL, NULL, 'Infinity', 0.10, 'null', 'null', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
         NULL, NULL, NULL, NULL);
"""  # noqa: E501


def digest(url: str, name: str) -> str | None:
    """As a backup and a drill have it computed."""
    table = TableName("public", name)
    with session.connect(url) as connection:
        columns = _columns(connection, table)
        query = f"SELECT {row_digest.aggregate(columns)} FROM ONLY {table.quoted}"
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row_digest.from_sum(row[0])


def test_every_version_computes_the_same(
    any_cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]
) -> None:
    url = new_database(any_cluster)
    with psycopg.connect(url) as connection:
        connection.execute("SET TimeZone = 'Asia/Kolkata'")
        connection.execute(TYPES.encode())
    assert digest(url, "t") == KNOWN


def test_any_difference_shows_and_the_order_does_not(database: str) -> None:
    variants = {
        "base": "SELECT 'a' AS x, 'b' AS y UNION ALL SELECT 'c', 'd'",
        "one row fewer": "SELECT 'a' AS x, 'b' AS y",
        "a row twice": "SELECT 'a' AS x, 'b' AS y UNION ALL SELECT 'a', 'b'",
        "a row thrice": "SELECT 'a' AS x, 'b' AS y FROM generate_series(1, 3)",
        "swapped between rows": "SELECT 'a' AS x, 'd' AS y UNION ALL SELECT 'c', 'b'",
        "swapped columns": "SELECT 'b' AS x, 'a' AS y UNION ALL SELECT 'd', 'c'",
        "another name": "SELECT 'a' AS x, 'b' AS z UNION ALL SELECT 'c', 'd'",
        "a border moved": "SELECT 'ab' AS x, '' AS y UNION ALL SELECT 'c', 'd'",
        "null": "SELECT 'ab' AS x, NULL AS y UNION ALL SELECT 'c', 'd'",
        "a letter": "SELECT 'A' AS x, 'b' AS y UNION ALL SELECT 'c', 'd'",
        "none": "SELECT 'a' AS x, 'b' AS y WHERE false",
        "no column": "SELECT FROM generate_series(1, 2)",
    }
    with psycopg.connect(database) as connection:
        for name, query in variants.items():
            connection.execute(f'CREATE TABLE "{name}" AS {query}'.encode())
        connection.execute('CREATE TABLE "another order" (y text, x text)')
        connection.execute("INSERT INTO \"another order\" VALUES ('d', 'c'), ('b', 'a')")
    found = {name: digest(database, name) for name in variants}
    assert len(set(found.values())) == len(variants)
    assert found["none"] == "0" * 16
    assert digest(database, "another order") == found["base"]


def test_partitions_add_up(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "CREATE TABLE whole AS SELECT n, n::text AS t FROM generate_series(1, 1000) n;"
            "CREATE TABLE one AS SELECT * FROM whole WHERE n % 3 = 0;"
            "CREATE TABLE two AS SELECT t, n FROM whole WHERE n % 3 > 0"
        )
    parts = [digest(database, "one"), digest(database, "two")]
    assert row_digest.added(parts) == digest(database, "whole")
    assert row_digest.added([*parts, None]) is None


def test_as_many_columns_as_a_table_can_have(database: str) -> None:
    columns = ", ".join(f"c{n} text DEFAULT {n}" for n in range(1600))
    with psycopg.connect(database) as connection:
        connection.execute(f"CREATE TABLE wide ({columns}); INSERT INTO wide (c7) VALUES (NULL)")  # type: ignore[arg-type]
    before = digest(database, "wide")
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE wide SET c1599 = 'x'")
    assert before != digest(database, "wide") is not None


def test_a_backup_takes_it_in_its_snapshot(database: str) -> None:
    """Also of rows that are gone when it is computed."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE conversations (id int PRIMARY KEY, t text);"
            "CREATE TABLE messages (id int PRIMARY KEY, c int REFERENCES conversations);"
            "INSERT INTO conversations SELECT n, 'x' || n FROM generate_series(1, 500) n"
        )
        before = digest(database, "conversations")
        scope = Scope(TableName("public", "conversations"), TableName("public", "messages"))
        with PostgresSource(database, scope=scope, lock_timeout=5).snapshot() as snapshot:
            connection.execute("DELETE FROM conversations WHERE id > 7")
            table = snapshot.dataset.table(scope.root)
            assert snapshot.counted(table) == (500, before)
            assert snapshot.counted(snapshot.dataset.table(scope.messages)) == (0, "0" * 16)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_server_of_another_encoding_tells_none(cluster: EmbeddedPostgres, encoding: str) -> None:
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {encoding.lower()} TEMPLATE template0 ENCODING '{encoding}'"
        )
        try:
            url = cluster.url(encoding.lower())
            with psycopg.connect(url) as other:
                other.execute("CREATE TABLE t AS SELECT 1 AS x")
            assert digest(url, "t") is None
        finally:
            drop_database(cluster.url(), encoding.lower())


def test_of_a_filtered_backup_it_is_that_of_the_chosen_rows(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE conversations (id int PRIMARY KEY, t text);"
            "CREATE TABLE messages (id int PRIMARY KEY, c int REFERENCES conversations);"
            "INSERT INTO conversations SELECT n, 'x' || n FROM generate_series(1, 50) n;"
            "INSERT INTO messages SELECT n, 1 + n % 50 FROM generate_series(1, 500) n;"
            "CREATE TABLE few AS SELECT * FROM messages WHERE c IN (3, 7)"
        )
        scope = Scope(
            TableName("public", "conversations"),
            TableName("public", "messages"),
            filters=Filters(conversation_ids=("3", "7")),
        )
        with PostgresSource(database, scope=scope, lock_timeout=5).snapshot() as snapshot:
            counted = snapshot.counted(snapshot.dataset.table(scope.messages))
    assert counted == (20, digest(database, "few"))
