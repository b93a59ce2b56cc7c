"""Every format gives every row of every type back: on each version, and from 16 into 18."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from convault.comparison import compare
from convault.embedded.server import EmbeddedPostgres
from convault.errors import IntegrityError
from convault.models import BackupFormat, TableName
from convault.repository import Repository
from convault.restore import restore
from tests.databases import Databases
from tests.formats.type_examples import EXAMPLES, RANGES, SINCE, TAKES_NO_TEXT, WITH_MODIFIERS
from tests.restore import odd_tables
from tests.restore.builder import back_up
from tests.restore.except_all import differences
from tests.restore.tables import PARTS, fill
from tests.versions import params

NewDatabase = Callable[[EmbeddedPostgres], str]
FORMATS = pytest.mark.parametrize("format", list(BackupFormat))

USER_TYPES = """
CREATE SCHEMA "Odd Schema";
CREATE TYPE "Odd Schema"."mo od" AS ENUM ('', 'it''s', 'a,b', '"q"', E'\\\\', 'NULL', '😀');
CREATE TYPE public.pair AS (a text, b integer, "c d" "Odd Schema"."mo od");
CREATE DOMAIN public.whole AS public.pair CHECK ((VALUE).b IS NULL OR (VALUE).b > 0);
CREATE DOMAIN public.many AS text[] CHECK (cardinality(VALUE) < 9);
CREATE TYPE public.text_range AS RANGE (subtype = text, collation = "C");
CREATE TABLE public.of_users (conversation integer REFERENCES public.conversations,
    e "Odd Schema"."mo od"[], w public.whole, ws public.pair[], m public.many,
    r public.text_range, rs public.text_multirange, g text GENERATED ALWAYS AS (m[1]) STORED);
INSERT INTO public.of_users VALUES
    (1, enum_range(NULL::"Odd Schema"."mo od"), ROW('a"b\\,', 1, ''), '{}', '{NULL,"",","}',
     '["a,b","c\\"d")', '{["","x]"),["y",)}'),
    (2, '{}', ROW(NULL, NULL, NULL), '{NULL,"(,,)"}', '{}', 'empty', '{}'),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL);
"""

OF_EXTENSIONS = {
    "vector": {"vector(3)": ["[1,-0.1,3e30]"], "halfvec": ["[1.5]"], "sparsevec": ["{1:1.5}/5"]},
    "citext": {"citext": ["Ação", "", "\\N"]},
    "hstore": {"hstore": ['"a"=>"1", "b"=>NULL', ""]},
    "ltree": {"ltree": ["a.b.c", ""], "lquery": ["a.*{1,2}.b|c"]},
    "cube": {"cube": ["(1, 2),(3, 4)"]},
    "isn": {"isbn13": ["978-0-393-04002-9"]},
}
"""Types of the extensions that a Postgres here may have, and values."""


def _fill_types(url: str) -> None:
    """A table for each type, and those that are theirs; each belongs to a conversation."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.conversations (id integer PRIMARY KEY)")
        connection.execute("INSERT INTO public.conversations VALUES (1), (2)")
        connection.execute("CREATE TABLE public.messages (id integer PRIMARY KEY,"
                           " of integer REFERENCES public.conversations)")  # fmt: skip
        connection.execute(USER_TYPES.encode())
        version = connection.info.server_version // 10000
        odd_tables.fill(connection, version)
        connection.execute("CREATE SCHEMA extensions")
        extensions = _of_extensions(connection)
        assert extensions, "this Postgres has no extension with a type"
        newer = [more for start, more in SINCE.items() if version >= start]
        for number, (type_, given) in enumerate(
            [*EXAMPLES.items(), *RANGES.items(), *WITH_MODIFIERS.items(), *extensions]
        ):
            known = connection.execute("SELECT to_regtype(%s)", (type_.split("(")[0],)).fetchone()
            if type_ in TAKES_NO_TEXT or known == (None,) or not _can_hold(connection, type_):
                continue
            values = [*given, *(value for more in newer for value in more.get(type_, []))]
            table = sql.Identifier("public", f"t{number}")
            y = sql.SQL(type_)  # type: ignore[arg-type]
            connection.execute(
                sql.SQL("CREATE TABLE {} (of int REFERENCES public.conversations, v {}, a {}[])")
                .format(table, y, y)
            )  # fmt: skip
            insert = sql.SQL("INSERT INTO {} VALUES ({}, {}::{}, ARRAY[{}::{}, NULL])")
            for place, value in enumerate(values):
                v = sql.Literal(value)
                connection.execute(insert.format(table, sql.Literal(1 + place % 2), v, y, v, y))
            connection.execute(
                sql.SQL("INSERT INTO {} VALUES (NULL, NULL, '{{}}'), (1, NULL, NULL)").format(table)
            )


def _of_extensions(connection: psycopg.Connection) -> list[tuple[str, list[str]]]:
    found = []
    for name, types in OF_EXTENSIONS.items():
        if connection.execute(
            "SELECT FROM pg_available_extensions WHERE name = %s", (name,)
        ).fetchall():
            connection.execute(f"CREATE EXTENSION {name} WITH SCHEMA extensions".encode())
            found += [(f"extensions.{type_}", values) for type_, values in types.items()]
    return found


def _can_hold(connection: psycopg.Connection, type_: str) -> bool:
    """The wheel's Postgres is built without xml."""
    try:
        connection.execute(f"SELECT NULL::{type_}, ''::xml" if type_ == "xml" else "SELECT 1")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def _comes_back(
    repository: Repository, source: str, target: str, format: BackupFormat, tables: int
) -> None:
    manifest = back_up(repository, source, format=format)
    assert {part.key.partition(".")[2].split(".")[0] for t in manifest.tables for part in t.parts} \
        == {"ndjson" if format is BackupFormat.JSON else format.value}  # fmt: skip
    assert len(manifest.tables) >= tables
    result = restore(repository, manifest, target)
    assert result.left_out == result.faults == ()
    assert {table: result.rows[TableName(*table)] for table in odd_tables.ROWS} == odd_tables.ROWS
    names = [table.name for table in manifest.tables]
    assert differences(source, target, names) == {}
    compared = compare(source, target, names)
    assert [c.table for c in compared if not c.equal] == []
    assert sum(c.rows_in_both for c in compared) == manifest.rows > 0


@pytest.fixture(scope="module")
def types_in(databases: Databases) -> Iterator[NewDatabase]:
    """URL of a database with every type in a cluster: filled once, because it is only read."""
    filled: dict[str, tuple[EmbeddedPostgres, str]] = {}

    def find(cluster: EmbeddedPostgres) -> str:
        if cluster.url() not in filled:
            filled[cluster.url()] = cluster, databases.take(cluster)
            _fill_types(filled[cluster.url()][1])
        return filled[cluster.url()][1]

    yield find
    for cluster, url in filled.values():
        databases.give_back(cluster, url)


@FORMATS
@pytest.mark.parametrize("version", params(18))
def test_every_type_comes_back(
    version: int,
    cluster_of: Callable[[int], EmbeddedPostgres],
    types_in: NewDatabase,
    new_database: NewDatabase,
    repository: Repository,
    format: BackupFormat,
) -> None:
    cluster = cluster_of(version)
    source, target = types_in(cluster), new_database(cluster)
    _comes_back(repository, source, target, format, 60)


@FORMATS
def test_every_type_comes_back_from_16_into_18(
    cluster_of: Callable[[int], EmbeddedPostgres],
    types_in: NewDatabase,
    new_database: NewDatabase,
    repository: Repository,
    format: BackupFormat,
) -> None:
    source, target = types_in(cluster_of(16)), new_database(cluster_of(18))
    _comes_back(repository, source, target, format, 60)


@FORMATS
@pytest.mark.parametrize("level", [0, 19])
def test_conversations_come_back(
    database: str, target: str, repository: Repository, format: BackupFormat, level: int
) -> None:
    fill(database)
    manifest = back_up(repository, database, format=format, level=level)
    assert sum(len(table.parts) for table in manifest.tables) >= PARTS
    restore(repository, manifest, target)
    compared = compare(database, target, [table.name for table in manifest.tables])
    assert all(c.equal for c in compared)
    assert sum(c.rows_in_both for c in compared) == manifest.rows > 3000


@FORMATS
def test_another_number_of_rows_than_the_manifest_says_is_damage(
    database: str, target: str, repository: Repository, format: BackupFormat
) -> None:
    fill(database)
    manifest = back_up(repository, database, format=format)
    tables = [
        table.model_copy(
            update={"parts": tuple(p.model_copy(update={"rows": p.rows + 1}) for p in table.parts)}
        )
        for table in manifest.tables
    ]
    with pytest.raises(IntegrityError, match=r"does not hold \d+ rows"):
        restore(repository, manifest.model_copy(update={"tables": tuple(tables)}), target)
