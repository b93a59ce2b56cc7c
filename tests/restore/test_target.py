"""What may be in a target, and what is said when it refuses. The manifests are made by hand."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from convault.catalog import open_catalog
from convault.errors import ConfigurationError, IntegrityError, RestoreError
from convault.manifest import Manifest
from convault.models import SourceFacts, Statement, TableName
from convault.repository import Repository
from convault.restore import restore
from tests.patience import awaited

IN_THE_WAY = {
    "CREATE TABLE public.a (id int)": "public.a",
    "CREATE TABLE public.a (id int) PARTITION BY RANGE (id)": "public.a",
    "CREATE VIEW public.v AS SELECT 1": "public.v",
    "CREATE MATERIALIZED VIEW public.m AS SELECT 1 AS c": "public.m",
    "CREATE SEQUENCE public.s": "public.s",
    "CREATE TYPE public.e AS ENUM ('a')": "public.e",
    "CREATE TYPE public.c AS (a int)": "public.c",
    "CREATE DOMAIN public.d AS int": "public.d",
    "CREATE TYPE public.r AS RANGE (subtype = text)": "public.r",
    "CREATE FUNCTION public.f() RETURNS int RETURN 1": "public.f",
    "CREATE SCHEMA app; CREATE TABLE app.a (id int)": "app.a",
    "CREATE SCHEMA app; CREATE TABLE app.backups (id int)": "app.backups",
    "CREATE SCHEMA not_pg_catalog; CREATE TYPE not_pg_catalog.t AS ENUM ()": "not_pg_catalog.t",
}
NOT_IN_THE_WAY = [
    "SELECT 1",
    "CREATE SCHEMA app",
    "CREATE SCHEMA auth; CREATE TABLE auth.users (id serial PRIMARY KEY);"
    " CREATE TYPE auth.level AS ENUM ('a'); CREATE FUNCTION auth.uid() RETURNS int RETURN 1",
    "CREATE SCHEMA supabase_migrations; CREATE TABLE supabase_migrations.done (v text)",
    "CREATE TABLE public.backups (id serial PRIMARY KEY)",
]


def _manifest(repository: Repository, *statements: Statement) -> Manifest:
    return Manifest(
        format=1,
        backup_id=uuid4(),
        repository_id=repository.repository_id,
        created_at=datetime.now(UTC),
        options={},
        parent_id=None,
        source=SourceFacts("localhost", "app", "", "18.0", "", ""),
        consistency="snapshot",
        root=TableName("public", "conversations"),
        tables=(),
        foreign_keys=(),
        statements=statements,
        members=(),
    )


def _table(name: str, sql: str, *, after_data: bool = False) -> Statement:
    return Statement("table", f"public.{name}", sql, after_data)


RAISING = Statement(
    "function", "public.f",
    "CREATE FUNCTION public.f() RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
    " $$BEGIN RAISE 'a value' USING DETAIL = 'secret'; END$$", after_data=False,
)  # fmt: skip
SLOW = "CREATE TABLE public.two AS SELECT pg_sleep(3600)::text"


def _tables(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind = 'r' ORDER BY 1"
        ).fetchall()
    return [name for (name,) in rows]


def _run(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.encode())


@pytest.mark.parametrize(("sql", "name"), IN_THE_WAY.items())
def test_a_target_that_holds_something_is_refused(
    database: str, repository: Repository, sql: str, name: str
) -> None:
    _run(database, sql)
    manifest = _manifest(repository, _table("new", "CREATE TABLE public.new ()"))
    with pytest.raises(RestoreError, match="is not empty") as caught:
        restore(repository, manifest, database)
    assert f" {name}." in caught.value.message or f" {name}," in caught.value.message
    assert "new" not in _tables(database)


@pytest.mark.parametrize("sql", NOT_IN_THE_WAY)
def test_what_others_keep_in_a_target_is_not_in_the_way(
    database: str, repository: Repository, sql: str
) -> None:
    _run(database, sql)
    restore(
        repository, _manifest(repository, _table("new", "CREATE TABLE public.new ()")), database
    )
    assert "new" in _tables(database)


def test_the_catalog_of_convault_is_not_in_the_way(database: str, repository: Repository) -> None:
    open_catalog(database).migrate()
    restore(
        repository, _manifest(repository, _table("new", "CREATE TABLE public.new ()")), database
    )
    assert {"new", "backups"} <= set(_tables(database))


def test_members_of_an_extension_are_not_in_the_way(database: str, repository: Repository) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        available = connection.execute(
            "SELECT name FROM pg_available_extensions WHERE name <> 'plpgsql' AND name = ANY (%s)"
            " ORDER BY 1",
            (["citext", "hstore", "pg_trgm", "vector", "uuid-ossp", "pgcrypto"],),
        ).fetchall()
        assert available, "this Postgres has no extension to try with"
        for (name,) in available:
            connection.execute(f'CREATE EXTENSION "{name}" SCHEMA public'.encode())
    restore(
        repository, _manifest(repository, _table("new", "CREATE TABLE public.new ()")), database
    )
    assert _tables(database) == ["new"]


def test_many_things_in_the_way_are_counted(database: str, repository: Repository) -> None:
    for number in range(12):
        _run(database, f"CREATE TABLE public.t{number:02} ()")
    with pytest.raises(RestoreError, match=r"public\.t04 and 7 more\."):
        restore(repository, _manifest(repository), database)


@pytest.mark.parametrize("after_data", [False, True])
def test_a_statement_that_fails_leaves_the_target_as_it_was(
    database: str, repository: Repository, after_data: bool
) -> None:
    manifest = _manifest(
        repository,
        _table("one", "CREATE TABLE public.one AS SELECT 1 AS id"),
        RAISING,
        Statement("index", "public.f", "CREATE INDEX ON public.one (public.f())", after_data),
    )
    with pytest.raises(RestoreError, match=r"index public\.f: .*P0001.*Nothing was changed") as e:
        restore(repository, manifest, database)
    assert "value" not in e.value.message
    assert "secret" not in e.value.message
    assert _tables(database) == []


def test_a_commit_that_fails_leaves_the_target_as_it_was(
    database: str, repository: Repository
) -> None:
    manifest = _manifest(
        repository,
        _table("one", "CREATE TABLE public.one (id text UNIQUE DEFERRABLE INITIALLY DEFERRED)"),
        Statement("function", "public.fill",
                  "CREATE FUNCTION public.fill() RETURNS void LANGUAGE sql AS"
                  " $$INSERT INTO public.one VALUES ('secret'), ('secret')$$", after_data=False),
        _table("two", "CREATE TABLE public.two AS SELECT public.fill()::text"),
    )  # fmt: skip
    with pytest.raises(RestoreError, match="refused to commit: UniqueViolation") as caught:
        restore(repository, manifest, database)
    assert "secret" not in caught.value.message
    assert _tables(database) == []


def test_a_connection_that_is_lost_leaves_the_target_as_it_was(
    database: str, repository: Repository
) -> None:
    manifest = _manifest(
        repository,
        _table("one", "CREATE TABLE public.one (id int)"),
        _table("two", SLOW),
    )

    def kill() -> None:
        killed = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = current_database() AND query = '{SLOW}'"
        )
        with psycopg.connect(database, autocommit=True) as connection:
            awaited(lambda: connection.execute(killed.encode()).fetchall(), pause=0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(RestoreError, match="terminating connection"):
        restore(repository, manifest, database)
    killer.join()
    assert _tables(database) == []


def test_percent_signs_and_braces_are_sql_and_nothing_else(
    database: str, repository: Repository
) -> None:
    sql = "CREATE TABLE public.\"%s {x}\" (a text DEFAULT '%(a)s {} %')"
    restore(repository, _manifest(repository, _table("x", sql)), database)
    assert _tables(database) == ["%s {x}"]


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("postgresql://postgres:secret@127.0.0.1:1/x", RestoreError, "target cannot be reached"),
        ("postgresql://postgres:sec@ret@127.0.0.1:1/x", ConfigurationError, "percent-encoded"),
    ],
)
def test_a_target_that_cannot_be_reached(
    repository: Repository, url: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        restore(repository, _manifest(repository), url)
    assert "secret" not in str(caught.value)
    assert "ret@" not in str(caught.value)


def test_a_database_that_does_not_exist(database: str, repository: Repository) -> None:
    with pytest.raises(RestoreError, match="does not exist"):
        restore(repository, _manifest(repository), database.replace("/test_", "/no_test_"))


ONE = "CREATE TABLE public.one (id int)"


@pytest.mark.parametrize("sql", [
    f"{ONE}; COMMIT; CREATE TABLE public.two ()",
    f"{ONE}; SELECT 1",
    "COMMIT",
    "  ROLLBACK",
    "/* CREATE TABLE */ COMMIT AND CHAIN",
    "SET row_security = on",
    "CREATE ROLE intruder",
    "ALTER SYSTEM SET work_mem = '1MB'",
    "DO $$BEGIN NULL; END$$",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "SELECT pg_catalog.set_config('a.b', 'c', false)",
])  # fmt: skip
@pytest.mark.parametrize("after_data", [False, True])
@pytest.mark.parametrize("tolerate", [False, True])
def test_a_forged_statement_is_one_statement_of_a_kind_that_backups_have(
    database: str, repository: Repository, sql: str, after_data: bool, tolerate: bool
) -> None:
    manifest = _manifest(repository, _table("zero", "CREATE TABLE public.zero ()"),
                         _table("one", sql, after_data=after_data))  # fmt: skip
    if tolerate and after_data and sql.startswith(ONE):
        result = restore(repository, manifest, database, tolerate=True)
        assert [fault.reason for fault in result.faults] == [
            "cannot insert multiple commands into a prepared statement (42601)"
        ]
        assert _tables(database) == ["zero"]
        return
    with pytest.raises((RestoreError, IntegrityError), match=r"multiple commands|forged"):
        restore(repository, manifest, database, tolerate=tolerate)
    assert _tables(database) == []
