"""Between the halves come the rows: nothing in the first half stands in their way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from tests.schema.judge import find, pg_dump, read, rows, run, write

NewDatabase = Callable[[EmbeddedPostgres], str]


@pytest.fixture
def target(cluster: EmbeddedPostgres, new_database: NewDatabase) -> str:
    return new_database(cluster)


def test_rows_that_break_constraints_that_are_not_validated(database: str, target: str) -> None:
    run(
        database,
        """
        CREATE DOMAIN d AS text;
        CREATE TABLE parent (id int PRIMARY KEY);
        CREATE TABLE t (a int, b d, c int, n int, e int);
        INSERT INTO t VALUES (-1, 'bad', 99, NULL, -1);
        ALTER TABLE t ADD CONSTRAINT positive CHECK (a > 0) NOT VALID;
        ALTER DOMAIN d ADD CONSTRAINT good CHECK (VALUE = 'good') NOT VALID;
        ALTER TABLE t ADD CONSTRAINT there FOREIGN KEY (c) REFERENCES parent NOT VALID;
        ALTER TABLE t ADD CONSTRAINT filled NOT NULL n NOT VALID;
        ALTER TABLE t ADD CONSTRAINT weak CHECK (e > 0) NOT ENFORCED;
        """,
    )
    write(target, read(database), rows="INSERT INTO public.t VALUES (-1, 'bad', 99, NULL, -1)")
    assert pg_dump(target) == pg_dump(database)
    with pytest.raises(psycopg.errors.CheckViolation):
        run(target, "INSERT INTO t VALUES (-1, 'good', NULL, 1, 1)")


def test_a_check_that_looks_at_another_table_is_added_when_that_is_filled(
    database: str, target: str
) -> None:
    run(
        database,
        """
        CREATE TABLE kinds (kind text);
        CREATE FUNCTION known(text) RETURNS bool LANGUAGE plpgsql STABLE
            AS 'BEGIN RETURN EXISTS (SELECT FROM public.kinds WHERE kind = $1); END';
        CREATE TABLE conversations (kind text CONSTRAINT known CHECK (known(kind)));
        """,
    )
    loaded = "INSERT INTO public.conversations VALUES ('x'); INSERT INTO public.kinds VALUES ('x')"
    write(target, read(database), rows=loaded)
    with pytest.raises(psycopg.errors.CheckViolation):
        run(target, "INSERT INTO conversations VALUES ('y')")


def test_no_check_stands_in_the_way_of_rows_that_break_it(database: str, target: str) -> None:
    """A function that a check calls may have been replaced since the rows came."""
    run(
        database,
        """
        CREATE FUNCTION short(text) RETURNS bool LANGUAGE sql IMMUTABLE RETURN length($1) < 9;
        CREATE TABLE conversations (title text CHECK (short(title)), n int CHECK (n > 0));
        CREATE TABLE heir (own int CONSTRAINT own CHECK (own > 0)) INHERITS (conversations);
        CREATE TABLE parted (k int CONSTRAINT k CHECK (k > 0)) PARTITION BY LIST (k);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
        CREATE TABLE parted_2 (k int CONSTRAINT k CHECK (k > 0) CONSTRAINT only_here CHECK (k > 1));
        ALTER TABLE parted ATTACH PARTITION parted_2 FOR VALUES IN (2);
        """,
    )
    statements = read(database)
    assert not [s.sql for s in statements if " CHECK " in s.sql and not s.after_data]
    assert len([s for s in statements if " CHECK " in s.sql]) == 5
    write(target, statements)
    assert pg_dump(target) == pg_dump(database)


def test_a_domain_check_that_reads_a_table_is_added_when_that_is_filled(
    database: str, target: str
) -> None:
    run(
        database,
        """
        CREATE TABLE kinds (kind text);
        CREATE FUNCTION known(k text) RETURNS bool LANGUAGE sql STABLE
            BEGIN ATOMIC SELECT EXISTS (SELECT FROM public.kinds WHERE kind = k); END;
        CREATE DOMAIN kind AS text CONSTRAINT known CHECK (known(VALUE));
        CREATE TABLE conversations (kind kind);
        """,
    )
    loaded = "INSERT INTO public.conversations VALUES ('x'); INSERT INTO public.kinds VALUES ('x')"
    write(target, read(database), rows=loaded)
    assert pg_dump(target) == pg_dump(database)


@pytest.fixture
def owner(cluster: EmbeddedPostgres, target: str) -> Iterator[str]:
    """A role that may create in the target and whom row security binds."""
    run(target, "CREATE ROLE restorer; GRANT CREATE ON SCHEMA public TO restorer")
    yield "restorer"
    run(target, "DROP OWNED BY restorer; DROP ROLE restorer")


def test_a_plain_owner_restores_tables_whose_security_is_forced(
    database: str, target: str, owner: str
) -> None:
    run(
        database,
        """
        CREATE TABLE contacts (id int PRIMARY KEY);
        CREATE TABLE conversations (id serial PRIMARY KEY, contact int REFERENCES contacts);
        ALTER TABLE conversations ENABLE ROW LEVEL SECURITY;
        ALTER TABLE conversations FORCE ROW LEVEL SECURITY;
        ALTER TABLE contacts ENABLE ROW LEVEL SECURITY;
        ALTER TABLE contacts FORCE ROW LEVEL SECURITY;
        """,
    )
    statements = read(database)
    loaded = (
        "INSERT INTO public.contacts VALUES (1); INSERT INTO public.conversations VALUES (7, 1)"
    )
    write(target, statements, rows=loaded, role=owner)
    own = f"\nGRANT CREATE ON SCHEMA public TO {owner};"
    assert pg_dump(target) == pg_dump(database) + own
    assert rows(target, "SELECT nextval('conversations_id_seq')") == [(8,)]
    with psycopg.connect(target) as connection:
        connection.execute(f"SET ROLE {owner}".encode())
        assert connection.execute("SELECT count(*) FROM conversations").fetchone() == (0,)


def test_rows_are_closed_before_they_are_loaded(database: str) -> None:
    run(database, "CREATE TABLE t (); ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    statement = find(read(database), "row security", "public.t")
    assert statement.sql == "ALTER TABLE ONLY public.t ENABLE ROW LEVEL SECURITY"
    assert not statement.after_data


def test_an_invalid_index_is_left_out_with_a_warning(
    database: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(database, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
    with (
        psycopg.connect(database, autocommit=True) as connection,
        pytest.raises(psycopg.errors.UniqueViolation),
    ):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (a)")
    run(database, "COMMENT ON INDEX broken IS 'never finished'")
    statements = read(database)
    assert "The index public.broken is invalid and was left out of the backup" in caplog.text
    write(target, statements, rows="INSERT INTO public.t VALUES (1), (1)")
    assert rows(target, "SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass") == [(0,)]
