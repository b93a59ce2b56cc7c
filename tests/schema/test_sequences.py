"""Restored sequences go on where those of the source were, and never hand out what a row has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.errors import MissingPrivilege
from convault.schema import read_statements
from convault.sources.session import connect
from tests.schema.judge import dataset_of, find, read, rows, run, write

NewDatabase = Callable[[EmbeddedPostgres], str]


@dataclass(frozen=True)
class Case:
    """A sequence of a column `id`, what happened to it, and rows that are restored."""

    parameters: str
    moved: str
    ids: str
    following: int


CASES = [
    Case("", "", "", 1),
    Case("START WITH 7", "", "", 7),
    Case("", "nextval('{}')", "", 2),
    Case("", "setval('{}', 41, true)", "3", 42),
    Case("", "setval('{}', 41, false)", "3", 41),
    Case("", "setval('{}', 41, false)", "41", 42),
    Case("", "nextval('{}')", "3, 90", 91),
    Case("", "", "1, 2", 3),
    Case("MAXVALUE 100", "setval('{}', 7)", "100, 9000", 8),
    Case("INCREMENT -1", "nextval('{}')", "5", -2),
    Case("MAXVALUE 9 CYCLE", "setval('{}', 4)", "8", 5),
    Case("INCREMENT 10 CACHE 5", "setval('{}', 11)", "15", 25),
]


def test_goes_on(any_cluster: EmbeddedPostgres, new_database: NewDatabase) -> None:
    source, target = new_database(any_cluster), new_database(any_cluster)
    made, loaded = [], []
    for number, case in enumerate(CASES):
        made.append(
            f"CREATE TABLE t{number} (id bigint);"
            f"CREATE SEQUENCE s{number} {case.parameters} OWNED BY t{number}.id"
        )
        if case.moved:
            made.append("SELECT " + case.moved.format(f"s{number}"))
        if case.ids:
            loaded.append(f"INSERT INTO public.t{number} SELECT unnest(ARRAY[{case.ids}])")
    run(source, ";".join(made))
    write(target, read(source), rows=";".join(loaded))
    following = ", ".join(f"nextval('s{number}')" for number in range(len(CASES)))
    assert rows(target, f"SELECT {following}") == [tuple(case.following for case in CASES)]


def test_identity_goes_on_behind_the_rows_of_partitions(
    database: str, cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    run(
        database,
        """
        CREATE TABLE t (id smallint GENERATED ALWAYS AS IDENTITY, k int) PARTITION BY LIST (k);
        CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1);
        """,
    )
    target = new_database(cluster)
    row = "INSERT INTO public.t_1 (id, k) OVERRIDING SYSTEM VALUE VALUES (8, 1)"
    write(target, read(database), rows=row)
    run(target, "INSERT INTO t (k) VALUES (1)")
    assert rows(target, "SELECT id FROM t ORDER BY id") == [(8,), (9,)]


def test_a_sequence_for_text_keeps_its_position(
    database: str, cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    run(
        database,
        """
        CREATE SEQUENCE refs;
        CREATE TABLE t (ref text DEFAULT 'C-' || nextval('refs'));
        ALTER SEQUENCE refs OWNED BY t.ref;
        INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES;
        """,
    )
    target = new_database(cluster)
    write(target, read(database))
    assert rows(target, "SELECT nextval('refs')") == [(3,)]


def test_what_was_handed_out_after_the_snapshot_is_not_handed_out_again(database: str) -> None:
    run(database, "CREATE TABLE t (id serial)")
    connection = connect(database)
    with connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        dataset = dataset_of(connection)
        run(database, "INSERT INTO t SELECT FROM generate_series(1, 5)")
        statement = find(read_statements(connection, dataset), "sequence value", "public.t_id_seq")
    assert "greatest(5, " in statement.sql


def test_a_position_that_may_not_be_read_is_refused(
    database: str, cluster: EmbeddedPostgres
) -> None:
    run(database, 'CREATE TABLE t ("Id" serial); CREATE ROLE reader; GRANT SELECT ON t TO reader')
    try:
        with psycopg.connect(database) as connection:
            connection.execute("SET ROLE reader")
            with pytest.raises(MissingPrivilege, match=r'GRANT SELECT ON SEQUENCE public\."t_Id'):
                read_statements(connection, dataset_of(connection))
    finally:
        run(database, "DROP OWNED BY reader; DROP ROLE reader")


def test_more_sequences_than_one_query_reads(
    database: str,
    cluster: EmbeddedPostgres,
    new_database: NewDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("convault.schema.sequences._READ_AT_ONCE", 10)
    columns = ", ".join(f"c{number} serial" for number in range(25))
    run(database, f"CREATE TABLE t ({columns})")
    run(database, "INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES")
    target = new_database(cluster)
    write(target, read(database))
    assert rows(target, "SELECT nextval('t_c0_seq'), nextval('t_c24_seq')") == [(3, 3)]
