"""A backup into a schema of its own, beside the tables that live."""

from __future__ import annotations

import psycopg
import pytest

from convault.comparison import compare
from convault.errors import OptionsError, RestoreError
from convault.models import TableName
from convault.repository import Repository
from convault.restore import RestoreOptions, restore
from convault.restore.renaming import rename
from tests.restore.conftest import Backup
from tests.restore.test_live import run
from tests.restore.test_selection import rows

INTO = RestoreOptions(into_schema="Restored 2")
NAMES = "SELECT relname, relkind::text FROM pg_class WHERE relnamespace = {}::regnamespace" \
        " AND relkind IN ('r', 'p', 'S', 'i', 'I') ORDER BY 1, 2"  # fmt: skip


def test_it_stands_beside_what_lives_and_touches_nothing_of_it(
    backup: Backup, database: str
) -> None:
    """Into the very database that it comes from: a copy of everything in the other schema."""
    from tests.restore.tables import fill

    fill(database)
    before = rows(database, NAMES.format("'public'"))
    result = restore(backup.repository, backup.manifest, database, INTO)
    assert rows(database, NAMES.format("'public'")) == before
    assert rows(database, NAMES.format("'\"Restored 2\"'")) == before
    for table in backup.manifest.tables:
        mine = TableName("Restored 2", table.name.name)
        columns = ", ".join('"' + c.name.replace('"', '""') + '"::text' for c in table.columns)
        query = f"SELECT ROW({columns})::text FROM ONLY {{}} ORDER BY 1"
        assert rows(database, query.format(mine.quoted)) == rows(
            backup.source, query.format(table.name.quoted)
        )
    assert sum(result.rows.values()) == backup.manifest.rows
    # Nothing of it leads back: types, sequences, defaults and keys are its own.
    assert rows(database, """
        SELECT count(*) FROM pg_depend d
        JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
        JOIN pg_class o ON d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid
        WHERE ARRAY[c.relnamespace, o.relnamespace] && ARRAY['"Restored 2"'::regnamespace::oid]
            AND ARRAY[c.relnamespace, o.relnamespace] && ARRAY['public'::regnamespace::oid]
    """) == [(0,)]  # fmt: skip
    assert rows(database, """
        SELECT bool_and(relrowsecurity) FROM pg_class
        WHERE relnamespace = '"Restored 2"'::regnamespace AND relkind IN ('r', 'p')
    """) == [(True,)]  # fmt: skip
    run(database, 'INSERT INTO "Restored 2".messages (conversation_id, sent_at)'
                  " VALUES (1, now())")  # fmt: skip
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        run(database, 'INSERT INTO "Restored 2".messages (conversation_id, sent_at)'
                      " VALUES (9999, now())")  # fmt: skip


def test_one_conversation_into_a_schema(backup: Backup, database: str) -> None:
    options = RestoreOptions(into_schema="restored", conversations=("7",))
    restore(backup.repository, backup.manifest, database, options)
    expected = rows(backup.source, "SELECT count(*) FROM messages WHERE conversation_id = 7")
    assert rows(database, "SELECT count(*) FROM restored.messages") == expected


@pytest.mark.parametrize(
    ("schema", "says"),
    [("public", "belongs to"), ("auth", "belongs to"), ("there", "already")],
)
def test_a_schema_that_is_there_is_refused(
    backup: Backup, database: str, schema: str, says: str
) -> None:
    run(database, "CREATE SCHEMA there")
    with pytest.raises(RestoreError, match=says):
        restore(backup.repository, backup.manifest, database, RestoreOptions(into_schema=schema))


def test_it_goes_with_no_mode() -> None:
    with pytest.raises(OptionsError, match="leave --mode out"):
        RestoreOptions.parse({"intoSchema": "restored", "mode": "skip"})


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("CREATE TABLE public.a (b public.mood)", 'CREATE TABLE "r".a (b "r".mood)'),
        ('CREATE TABLE "public"."a.b" ()', 'CREATE TABLE "r"."a.b" ()'),
        ("DEFAULT nextval('public.a_seq'::regclass)", "DEFAULT nextval('\"r\".a_seq'::regclass)"),
        ("SELECT pg_catalog.setval('public.s', 1)", "SELECT pg_catalog.setval('\"r\".s', 1)"),
        ("COMMENT ON TABLE public.a IS 'of public.a'", "COMMENT ON TABLE \"r\".a IS 'of public.a'"),
        ("CHECK (a <> 'public.b'::text)", "CHECK (a <> 'public.b'::text)"),
        ("x.public.y, publics.z, public", "x.public.y, publics.z, public"),
        ("AS $$SELECT public.f()$$", "AS $$SELECT public.f()$$"),
        ("auth.users, extensions.f()", "auth.users, extensions.f()"),
    ],
)
def test_names_and_nothing_else_are_renamed(sql: str, expected: str) -> None:
    assert rename(sql, {"public"}, "r") == expected


def test_bodies_of_functions_follow() -> None:
    sql = "CREATE FUNCTION public.f() AS $b$SELECT public.g('it''s public.x') $b$"
    assert rename(sql, {"public"}, "r", bodies=True) == (
        "CREATE FUNCTION \"r\".f() AS $b$SELECT \"r\".g('it''s public.x') $b$"
    )


def test_what_is_restored_there_is_what_it_was(
    backup: Backup, database: str, repository: Repository
) -> None:
    restore(backup.repository, backup.manifest, database, RestoreOptions(into_schema="public_2"))
    run(database, "DROP SCHEMA public CASCADE", "ALTER SCHEMA public_2 RENAME TO public")
    compared = compare(backup.source, database, [t.name for t in backup.manifest.tables])
    assert all(c.equal for c in compared)
