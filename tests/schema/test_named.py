"""Functions and sequences that only a text names, which Postgres keeps no dependency on."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.schema import read_statements
from tests.schema.judge import dataset_of, find, pg_dump, read, rows, run, write

NewDatabase = Callable[[EmbeddedPostgres], str]

HELPERS = """
    CREATE SCHEMA app;
    CREATE FUNCTION "Odd ""Helper"(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE
        AS 'BEGIN RETURN lower(t); END';
    CREATE FUNCTION app.inner_one(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE
        AS 'BEGIN RETURN public."Odd ""Helper"(t); END';
    CREATE TYPE app.kind AS ENUM ('a');
    CREATE FUNCTION app.helper(t text, k app.kind DEFAULT NULL) RETURNS text LANGUAGE sql IMMUTABLE
        AS 'SELECT APP.Inner_One(t)';
    COMMENT ON FUNCTION app.helper(text, app.kind) IS 'named by slug';
    CREATE FUNCTION app.slug(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE
        AS 'BEGIN RETURN app.helper($1); END';
    CREATE FUNCTION app.unrelated() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE TABLE conversations (
        title text, slug text GENERATED ALWAYS AS (app.slug(title)) STORED,
        CONSTRAINT slugged CHECK (app.slug(title) <> ''));
    CREATE INDEX ON conversations (app.slug(title));
"""


def functions(url: str, *tables: str) -> set[str]:
    return {s.name for s in read(url, *tables) if s.kind == "function"}


def test_functions_that_string_bodies_name_are_taken_along(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    source, target = new_database(any_cluster), new_database(any_cluster)
    run(source, HELPERS)
    write(target, read(source), rows="INSERT INTO public.conversations VALUES ('Olá')")
    assert rows(target, "SELECT slug FROM conversations") == [("olá",)]
    run(source, "DROP FUNCTION app.unrelated")
    assert pg_dump(target) == pg_dump(source)


def test_the_dead_ends_of_names_refuse_nothing(database: str) -> None:
    """What a guess leads to, and no restore could make, is left out."""
    run(
        database,
        """
        CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
        CREATE FUNCTION sum_up() RETURNS int LANGUAGE sql STABLE
            BEGIN ATOMIC SELECT total(g) FROM generate_series(1, 2) g; END;
        CREATE TABLE t (id int PRIMARY KEY, a text);
        CREATE FUNCTION grouped() RETURNS text LANGUAGE sql STABLE
            BEGIN ATOMIC SELECT a FROM public.t GROUP BY id LIMIT 1; END;
        COMMENT ON FUNCTION grouped() IS 'needs the primary key';
        CREATE TABLE elsewhere (a int);
        CREATE FUNCTION reads() RETURNS int LANGUAGE sql STABLE
            BEGIN ATOMIC SELECT a FROM public.elsewhere; END;
        CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql
            AS 'BEGIN RETURN sum_up() || grouped() || reads() || fires(); END';
        ALTER TABLE t ALTER a SET DEFAULT f();
        """,
    )
    statements = read(database, "public.t")
    needs = {s.name: s.needs for s in statements if s.kind == "function"}
    assert needs == {
        "public.f()": (),
        "public.sum_up()": ("public.total(integer)",),
        "public.reads()": ("public.elsewhere",),
    }
    assert not [s for s in statements if s.kind == "comment"]
    default = find(statements, "table", "public.t").sql
    assert "DEFAULT public.f()" in default


@pytest.mark.parametrize("literal", ["app_seq", "public.app_seq"])
def test_sequences_that_defaults_name_as_text_are_taken_along(
    database: str, cluster: EmbeddedPostgres, new_database: NewDatabase, literal: str
) -> None:
    run(
        database,
        f"""
        CREATE SEQUENCE app_seq; CREATE SEQUENCE unrelated; CREATE SEQUENCE "In Body";
        CREATE FUNCTION number() RETURNS text LANGUAGE plpgsql
            AS 'BEGIN RETURN nextval(''"In Body"''); END';
        CREATE TABLE conversations (id int DEFAULT nextval('{literal}'::text),
            number text DEFAULT number());
        INSERT INTO conversations SELECT FROM generate_series(1, 6);
        """,
    )
    target = new_database(cluster)
    write(target, read(database))
    run(target, "INSERT INTO conversations DEFAULT VALUES")
    assert rows(target, "SELECT id, number FROM conversations") == [(7, "7")]
    assert rows(target, "SELECT to_regclass('unrelated')") == [(None,)]


def test_a_sequence_that_only_a_body_names_need_not_be_readable(
    database: str, cluster: EmbeddedPostgres
) -> None:
    run(
        database,
        """
        CREATE SEQUENCE hidden; CREATE FUNCTION number() RETURNS text LANGUAGE plpgsql
            AS 'BEGIN RETURN nextval(''hidden''); END';
        CREATE TABLE t (n text DEFAULT number());
        CREATE ROLE unreader; GRANT SELECT ON t TO unreader
        """,
    )
    try:
        with psycopg.connect(database) as connection:
            connection.execute("SET ROLE unreader")
            kinds = {s.kind for s in read_statements(connection, dataset_of(connection))}
        assert kinds == {"function", "table", "privilege"}
    finally:
        run(database, "DROP OWNED BY unreader; DROP ROLE unreader")
