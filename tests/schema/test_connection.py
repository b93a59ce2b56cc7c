"""Reading is done in the caller's snapshot, whatever its session is like, and leaves nothing."""

from __future__ import annotations

import psycopg
import pytest

from convault.errors import SourceError
from convault.schema import read_statements
from tests.schema.judge import dataset_of, find, read, run

SETTINGS = {
    "search_path": "public, pg_catalog",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "America/Sao_Paulo",
    "bytea_output": "escape",
    "extra_float_digits": "-3",
    "quote_all_identifiers": "on",
}
TABLES = """
    CREATE FUNCTION public.lower(int) RETURNS int LANGUAGE sql RETURN $1;
    CREATE SEQUENCE s;
    CREATE TABLE t (
        d date DEFAULT '2024-02-03', i interval DEFAULT '1 day 02:00', b bytea DEFAULT '\\x00ff',
        at timestamptz DEFAULT '2024-02-03 04:05:06+00', f float8 DEFAULT 0.1 + 0.2::float8,
        n int DEFAULT nextval('s'), l int DEFAULT public.lower(1)
    )
"""


def test_the_settings_of_the_session_change_nothing_and_are_kept(database: str) -> None:
    run(database, TABLES)
    wanted = read(database)
    with psycopg.connect(database) as connection:
        for name, value in SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        assert read_statements(connection, dataset_of(connection)) == wanted
        for name, value in SETTINGS.items():
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            assert row == (value,)


def test_leaves_no_lock(database: str) -> None:
    run(database, TABLES)
    with psycopg.connect(database) as connection:
        dataset = dataset_of(connection)
        read_statements(connection, dataset)
        held = connection.execute(
            "SELECT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid()"
            " AND relation IN ('s'::regclass, 't'::regclass)"
        ).fetchall()
        assert held == []


def test_reads_what_the_snapshot_has(database: str) -> None:
    run(database, "CREATE TABLE t (a int, b int)")
    with psycopg.connect(database) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        dataset = dataset_of(connection)
        run(database, "CREATE INDEX later ON t (a); COMMENT ON TABLE t IS 'later'")
        assert [s.kind for s in read_statements(connection, dataset)] == ["table"]
    assert [s.kind for s in read(database)] == ["table", "index", "comment"]


def test_works_on_a_connection_in_autocommit(database: str) -> None:
    run(database, "CREATE TABLE t (a int)")
    with psycopg.connect(database, autocommit=True) as connection:
        statements = read_statements(connection, dataset_of(connection))
        assert find(statements, "table", "public.t").sql == (
            "CREATE TABLE public.t (\n    a integer\n)"
        )
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_lost_connection_is_a_source_error(database: str) -> None:
    run(database, "CREATE TABLE t (a int)")
    with psycopg.connect(database, autocommit=True) as connection:
        dataset = dataset_of(connection)
        pid = connection.info.backend_pid
        run(database, f"SELECT pg_terminate_backend({pid}, 300000)")
        with pytest.raises(SourceError):
            read_statements(connection, dataset)
