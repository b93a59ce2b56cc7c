"""What the target refuses, while the rows come back."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from convault.comparison import compare
from convault.embedded.server import EmbeddedPostgres
from convault.errors import RestoreError
from convault.manifest import Manifest
from convault.models import BackupFormat, TableName
from convault.repository import Repository
from convault.restore import RestoreResult, restore
from tests.restore.builder import back_up

BASE = """
    CREATE TABLE public.conversations (id integer PRIMARY KEY, t text);
    CREATE TABLE public.messages (
        id integer PRIMARY KEY, conversation_id integer REFERENCES public.conversations, body text);
    INSERT INTO public.conversations VALUES (1, 'a'), (2, 'b');
    INSERT INTO public.messages VALUES (1, 1, 'x'), (2, 2, 'y');
"""
USERS = "CREATE SCHEMA auth; CREATE TABLE auth.users (id integer PRIMARY KEY);"
NewDatabase = Callable[[EmbeddedPostgres], str]


def run_sql(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for sql in statements:
            connection.execute(sql.encode())


def backed_up(
    repository: Repository, url: str, *sql: str, format: BackupFormat = BackupFormat.JSON
) -> Manifest:
    """BASE and `sql`; the manifest as it is read again from a store."""
    run_sql(url, BASE, *sql)
    return Manifest.from_bytes(back_up(repository, url, format=format).to_bytes(), where="here")


def differing(manifest: Manifest, source: str, target: str) -> list[str]:
    compared = compare(source, target, [table.name for table in manifest.tables])
    return [str(table.table) for table in compared if not table.equal]


def faults(result: RestoreResult) -> dict[str, bool]:
    """Whether each is there, NOT VALID."""
    return {f"{f.statement.kind} {f.statement.name}": f.not_valid for f in result.faults}


def validity(url: str) -> dict[str, bool]:
    """Of the foreign keys and checks."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT conname, convalidated FROM pg_constraint c"
            " JOIN pg_namespace n ON n.oid = connamespace"
            " WHERE contype IN ('f', 'c') AND nspname = 'public'"
        ).fetchall()
    return dict(rows)


def test_users_without_the_rows_do_not_keep_the_rest_out(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository
) -> None:
    """As a new Supabase project is: it has auth.users, and nobody in it yet."""
    source, target = new_database(any_cluster), new_database(any_cluster)
    manifest = backed_up(
        repository, source, USERS, "INSERT INTO auth.users VALUES (7)",
        "ALTER TABLE conversations ADD COLUMN user_id integer NOT NULL DEFAULT 7"
        " CONSTRAINT by_user REFERENCES auth.users DEFERRABLE",
        "COMMENT ON CONSTRAINT by_user ON conversations IS 'whose it is'",
    )  # fmt: skip
    run_sql(target, USERS)
    with pytest.raises(RestoreError, match=r"2 rows by by_user on public\.conversations"):
        restore(repository, manifest, target)
    result = restore(repository, manifest, target, tolerate=True)
    assert result.missing_users == {"by_user on public.conversations": 2}
    assert differing(manifest, source, target) == []
    assert faults(result) == {"foreign key by_user on public.conversations": True}
    assert "ForeignKeyViolation" in result.faults[0].reason
    assert result.complete
    assert validity(target) == {"by_user": False, "messages_conversation_id_fkey": True}
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        run_sql(target, "INSERT INTO conversations VALUES (3, 'c', 8)")
    run_sql(target, "INSERT INTO auth.users VALUES (7)",
            "ALTER TABLE conversations VALIDATE CONSTRAINT by_user")  # fmt: skip


def test_a_key_to_users_that_are_others_is_left_out(
    database: str, target: str, repository: Repository
) -> None:
    manifest = backed_up(
        repository, database, USERS,
        "ALTER TABLE conversations ADD COLUMN user_id integer CONSTRAINT by_user"
        " REFERENCES auth.users",
    )  # fmt: skip
    run_sql(target, "CREATE SCHEMA auth; CREATE TABLE auth.users (id integer)")
    result = restore(repository, manifest, target)
    assert faults(result) == {"foreign key by_user on public.conversations": False}
    assert result.complete
    assert differing(manifest, database, target) == []


BROKEN = """
    CREATE FUNCTION public.helper(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
    CREATE FUNCTION public.folded(text) RETURNS text IMMUTABLE LANGUAGE plpgsql
        AS 'BEGIN RETURN public.helper($1); END';
    CREATE INDEX folded ON public.messages (public.folded(body));
    ALTER TABLE public.messages DISABLE TRIGGER ALL;
    INSERT INTO public.messages VALUES (3, 99, 'orphan');
    ALTER TABLE public.messages ENABLE TRIGGER ALL;
    CREATE FUNCTION public.short(text) RETURNS boolean IMMUTABLE RETURN length($1) < 10;
    ALTER TABLE public.messages ADD CONSTRAINT is_short CHECK (public.short(body));
    CREATE OR REPLACE FUNCTION public.short(text) RETURNS boolean IMMUTABLE RETURN length($1) < 2;
"""
"""An orphan, a check that holds no more, and an index on a function that fails: as a source
tolerates them."""


def test_what_the_source_tolerates_is_refused_unless_asked_for(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository
) -> None:
    source, target = new_database(any_cluster), new_database(any_cluster)
    manifest = backed_up(repository, source, BROKEN)
    # Broken now, whatever the backup takes along of what functions call in their text.
    manifest = manifest.model_copy(
        update={
            "statements": tuple(
                s for s in manifest.statements if not s.name.startswith("public.helper")
            )
        }
    )
    with pytest.raises(RestoreError, match=r"restore --tolerate-constraints"):
        restore(repository, manifest, target)

    result = restore(repository, manifest, target, tolerate=True)
    assert differing(manifest, source, target) == []
    assert faults(result) == {
        "index public.folded": False,
        "constraint is_short on public.messages": True,
        "foreign key messages_conversation_id_fkey on public.messages": True,
    }
    assert not result.complete
    assert validity(target) == {"is_short": False, "messages_conversation_id_fkey": False}


def test_what_comes_before_the_rows_is_never_left_out(
    database: str, target: str, repository: Repository
) -> None:
    manifest = backed_up(repository, database)
    table = next(s for s in manifest.statements if s.kind == "table")
    manifest = manifest.model_copy(update={"statements": (table, *manifest.statements)})
    with pytest.raises(RestoreError, match="already exists") as caught:
        restore(repository, manifest, target, tolerate=True)
    assert "--tolerate-constraints" not in caught.value.message


def test_a_function_that_quotes_a_row_is_not_repeated(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository
) -> None:
    """It may raise any SQLSTATE, also one by which Postgres itself quotes nothing."""
    source, target = new_database(any_cluster), new_database(any_cluster)
    manifest = backed_up(
        repository, source,
        "CREATE FUNCTION picky(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS"
        " 'BEGIN RETURN $1; END'",
        "CREATE INDEX picky ON messages (picky(body))",
        "CREATE OR REPLACE FUNCTION picky(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'not for %', $1 || '@example.org'"
        " USING errcode = 'feature_not_supported'; END$$",
    )  # fmt: skip
    with pytest.raises(RestoreError, match=r"picky: FeatureNotSupported \(0A000\)") as caught:
        restore(repository, manifest, target)
    assert "example.org" not in caught.value.message
    result = restore(repository, manifest, target, tolerate=True)
    assert [fault.reason for fault in result.faults] == ["FeatureNotSupported (0A000)"]


def test_null_in_an_array_stays_null_whatever_the_target_is_set_to(
    database: str, target: str, repository: Repository
) -> None:
    manifest = backed_up(
        repository, database,
        "ALTER TABLE messages ADD COLUMN tags text[] DEFAULT ARRAY[NULL, 'NULL', 'a']",
    )  # fmt: skip
    with psycopg.connect(target, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET array_nulls = off".encode())
    restore(repository, manifest, target)
    with psycopg.connect(target) as connection:
        rows = connection.execute("SELECT tags FROM messages").fetchall()
    assert rows == [([None, "NULL", "a"],)] * 2


GENERATED = """
    CREATE FUNCTION public.size_of(text) RETURNS numeric IMMUTABLE RETURN length($1);
    ALTER TABLE public.messages ADD COLUMN size numeric
        GENERATED ALWAYS AS (public.size_of(body)) STORED;
    CREATE TABLE public.notes (
        conversation_id integer REFERENCES public.conversations, lang text, body text,
        size numeric GENERATED ALWAYS AS (public.size_of(body)) STORED) PARTITION BY HASH (lang);
    CREATE TABLE public.notes_0 PARTITION OF public.notes
        FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE public.notes_1 (
        size numeric GENERATED ALWAYS AS (public.size_of(body)) STORED, body text, lang text,
        conversation_id integer);
    ALTER TABLE public.notes ATTACH PARTITION public.notes_1
        FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO public.notes SELECT 1, 'l' || n % 7, repeat('x', n % 10)
        FROM generate_series(1, 100) n;
"""


@pytest.mark.parametrize("format", list(BackupFormat))
def test_generated_columns_are_those_of_the_backup(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository,
    format: BackupFormat,
) -> None:  # fmt: skip
    source, target = new_database(any_cluster), new_database(any_cluster)
    manifest = backed_up(repository, source, GENERATED, format=format)
    result = restore(repository, manifest, target)
    assert result.recomputed == {}
    assert differing(manifest, source, target) == []


@pytest.mark.parametrize("format", list(BackupFormat))
def test_generated_columns_with_other_values_are_refused_or_told(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase, repository: Repository,
    format: BackupFormat,
) -> None:  # fmt: skip
    source, target = new_database(any_cluster), new_database(any_cluster)
    manifest = backed_up(
        repository, source, GENERATED,
        "CREATE OR REPLACE FUNCTION size_of(text) RETURNS numeric IMMUTABLE"
        " RETURN CASE WHEN length($1) < 5 THEN length($1) ELSE 5.0 END",
        "UPDATE messages SET body = 'long as it is' WHERE id = 2",
        format=format,
    )  # fmt: skip
    with pytest.raises(RestoreError, match=r"50 rows of public\.notes .*--tolerate-constraints"):
        restore(repository, manifest, target)
    result = restore(repository, manifest, target, tolerate=True)
    assert result.recomputed == {TableName("public", "notes"): 50}
    assert not result.complete
    assert differing(manifest, source, target) == ["public.notes_0", "public.notes_1"]
    with psycopg.connect(target) as connection:
        left = connection.execute("SELECT to_regclass('pg_temp.convault_generated')").fetchone()
    assert left == (None,)
