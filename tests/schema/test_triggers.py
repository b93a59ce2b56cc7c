"""Triggers come back as they were, after the rows, where what they call is there."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from tests.schema.judge import find, pg_dump, read, rows, run, write

NewDatabase = Callable[[EmbeddedPostgres], str]

WEBHOOKS = """
    CREATE SCHEMA supabase_functions;
    CREATE FUNCTION supabase_functions.http_request() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN RETURN NEW; END';
"""
HOOK = """
    CREATE TABLE messages (body text);
    CREATE TRIGGER hook AFTER INSERT ON messages FOR EACH ROW
        EXECUTE FUNCTION supabase_functions.http_request(
            'https://example.org/hook', 'POST', '{"Content-type":"application/json"}', '{}',
            '1000');
    ALTER TABLE messages DISABLE TRIGGER hook;
    COMMENT ON TRIGGER hook ON messages IS 'tells the bot';
"""


@pytest.fixture
def target(cluster: EmbeddedPostgres, new_database: NewDatabase) -> str:
    return new_database(cluster)


def test_a_webhook_comes_back_where_there_are_webhooks(
    database: str, target: str, cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    run(database, WEBHOOKS + HOOK)
    statements = read(database)
    assert [(s.kind, s.needs) for s in statements] == [
        ("table", ()),
        *[(kind, ("supabase_functions.http_request()",))
          for kind in ("trigger", "trigger", "comment")],
    ]  # fmt: skip
    write(target, statements)
    assert rows(target, "SELECT count(*) FROM pg_trigger") == [(0,)]
    supabase = new_database(cluster)
    run(supabase, WEBHOOKS)
    write(supabase, statements)
    assert pg_dump(supabase) == pg_dump(database)


def test_a_trigger_fires_for_no_restored_row_and_for_every_later_one(
    database: str, target: str
) -> None:
    run(
        database,
        """
        CREATE TABLE t (a int); CREATE TABLE fired (a int);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN INSERT INTO public.fired VALUES (NEW.a); RETURN NULL; END';
        CREATE TRIGGER early BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
        """,
    )
    write(target, read(database), rows="INSERT INTO public.t VALUES (1), (2)")
    run(target, "INSERT INTO t VALUES (3)")
    assert rows(target, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]
    assert rows(target, "SELECT a FROM fired") == [(3,)]


def test_the_functions_that_a_triggers_body_names_are_taken_along_and_its_tables_are_not(
    database: str, target: str
) -> None:
    run(
        database,
        """
        CREATE TABLE t (id int, a text); CREATE TABLE audit (a text); CREATE SEQUENCE tickets;
        CREATE FUNCTION tidy(a text) RETURNS text LANGUAGE sql AS 'SELECT lower(a)';
        CREATE FUNCTION unrelated() RETURNS text LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.a = 'audit' THEN INSERT INTO public.audit VALUES (NEW.a); END IF;
            NEW.a := public.tidy(NEW.a); NEW.id := nextval('public.tickets'); RETURN NEW;
        END $$;
        CREATE TRIGGER tidies BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fires();
        SELECT setval('tickets', 41);
        """,
    )
    statements = read(database, "public.t")
    assert {s.name for s in statements if s.kind == "function"} == {
        "public.fires()", "public.tidy(pg_catalog.text)",
    }  # fmt: skip
    assert not any(s.needs for s in statements)
    write(target, statements)
    run(target, "INSERT INTO t VALUES (0, 'Olá')")
    assert rows(target, "SELECT id, a FROM t") == [(42, "olá")]
    assert rows(target, "SELECT to_regclass('audit')") == [(None,)]


def test_a_trigger_from_a_table_outside_needs_it(database: str) -> None:
    run(
        database,
        """
        CREATE TABLE t (a int); CREATE TABLE elsewhere (a int);
        CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE CONSTRAINT TRIGGER c AFTER INSERT ON t FROM elsewhere FOR EACH ROW
            EXECUTE FUNCTION fires();
        """,
    )
    assert find(read(database, "public.t"), "trigger", "c on public.t").needs == (
        "public.elsewhere",
    )


def test_what_only_a_trigger_needs_refuses_no_backup(
    database: str, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A user's own operator and an aggregate have no statements: the triggers are left out."""
    run(
        database,
        """
        CREATE TABLE t (id int PRIMARY KEY, a int);
        CREATE FUNCTION same(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 = $2';
        CREATE OPERATOR === (FUNCTION = same, LEFTARG = int, RIGHTARG = int);
        CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER by_operator AFTER UPDATE ON t FOR EACH ROW WHEN (OLD.a === NEW.a)
            EXECUTE FUNCTION fires();
        CREATE FUNCTION grouped(int) RETURNS bool LANGUAGE sql STABLE
            BEGIN ATOMIC SELECT a = $1 FROM public.t GROUP BY id LIMIT 1; END;
        CREATE TRIGGER too_early AFTER UPDATE ON t FOR EACH ROW WHEN (grouped(NEW.a))
            EXECUTE FUNCTION fires();
        """,
    )
    statements = read(database)
    assert "The trigger too_early on public.t was left out" in caplog.text
    assert find(statements, "trigger", "by_operator on public.t").needs == (
        "public.===(integer,integer)",
    )
    write(target, statements)
    assert rows(target, "SELECT count(*) FROM pg_trigger") == [(0,)]


def test_an_extension_that_only_a_trigger_needs_is_made_where_it_can_be(
    database: str, target: str
) -> None:
    run(
        database,
        """
        CREATE SCHEMA extensions; CREATE EXTENSION vector WITH SCHEMA extensions;
        CREATE TABLE t (a text);
        CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER near AFTER INSERT ON t FOR EACH ROW
            WHEN (extensions.vector_dims(NEW.a::extensions.vector) = 3) EXECUTE FUNCTION fires();
        """,
    )
    statements = read(database)
    assert {(s.kind, *s.needs) for s in statements} == {
        ("schema",), ("extension", "extension vector"), ("table",), ("function",),
        ("trigger", "extension vector"),
    }  # fmt: skip
    write(target, statements)
    assert pg_dump(target) == pg_dump(database)


def test_the_state_of_every_trigger_of_a_tree(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    """As the server keeps it, and not only as pg_dump shows it."""
    source, target = new_database(any_cluster), new_database(any_cluster)
    run(
        source,
        """
        CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TABLE top (a int) PARTITION BY LIST (a);
        CREATE TABLE mid PARTITION OF top FOR VALUES IN (1, 2) PARTITION BY LIST (a);
        CREATE TABLE low PARTITION OF mid FOR VALUES IN (1);
        CREATE TABLE lower PARTITION OF mid FOR VALUES IN (2);
        """
        + "".join(
            f"CREATE TRIGGER t{n} AFTER INSERT ON top FOR EACH ROW EXECUTE FUNCTION fires();"
            for n in range(4)
        )
        + """
        ALTER TABLE top DISABLE TRIGGER t1;
        ALTER TABLE mid ENABLE ALWAYS TRIGGER t2;
        ALTER TABLE low DISABLE TRIGGER t2;
        ALTER TABLE top ENABLE REPLICA TRIGGER t3;
        ALTER TABLE lower ENABLE TRIGGER t3;
        COMMENT ON TRIGGER t2 ON low IS 'of a clone';
        """,
    )
    states = """
        SELECT tgrelid::regclass::text, tgname, tgenabled, obj_description(oid, 'pg_trigger')
        FROM pg_trigger ORDER BY 1, 2
    """
    write(target, read(source))
    assert len(rows(source, states)) == 16
    assert rows(target, states) == rows(source, states)


def test_a_disabled_trigger_stays_silent(database: str, target: str) -> None:
    run(
        database,
        """
        CREATE TABLE t (a int);
        CREATE FUNCTION raises() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''fired''; END';
        CREATE TRIGGER off AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION raises();
        ALTER TABLE t DISABLE TRIGGER off;
        """,
    )
    write(target, read(database))
    run(target, "INSERT INTO t VALUES (1); ALTER TABLE t ENABLE TRIGGER off")
    with pytest.raises(psycopg.errors.RaiseException):
        run(target, "INSERT INTO t VALUES (1)")
