"""Every type of Postgres comes back as it was, to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from convault.dataset.masking import masked_expression
from convault.embedded.server import EmbeddedPostgres
from convault.formats.postgres_types import encoding_of
from convault.models import Column
from tests.formats.round_trip import round_trip
from tests.formats.type_examples import (
    EXAMPLES,
    HAS_NO_BINARY_FORM,
    RANGES,
    SINCE,
    TAKES_NO_TEXT,
    WITH_MODIFIERS,
)

NewDatabase = Callable[[EmbeddedPostgres], str]

_TYPES = (
    "SELECT format_type(t.oid, -1) FROM pg_type t"
    " WHERE t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::regnamespace"
    " AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid) ORDER BY 1"
)


def _fill(connection: psycopg.Connection, table: str, type_: str, values: list[str]) -> None:
    """A table with the values, their array, arrays of other shapes, and NULL in every place."""
    connection.execute(f"CREATE TABLE {table} (v {type_}, a {type_}[])".encode())
    for value in values:
        query = sql.SQL("INSERT INTO {t} (v, a) VALUES ({v}::{y}, ARRAY[{v}::{y}, NULL])").format(
            t=sql.SQL(table), v=sql.Literal(value), y=sql.SQL(type_)
        )
        connection.execute(query)
    connection.execute(f"INSERT INTO {table} (a) VALUES ('{{}}'), (NULL)".encode())
    if not type_.endswith("vector"):  # which the functions below take for arrays
        connection.execute(
            f"INSERT INTO {table} (a) SELECT array_agg(v) FROM {table}"
            f" UNION ALL SELECT array_fill(v, '{{2,2}}', '{{-1,5}}') FROM {table}".encode()
        )


def test_every_base_type_survives(any_cluster: EmbeddedPostgres, new_database: NewDatabase) -> None:
    url = new_database(any_cluster)
    without_example, tables = [], {}
    with psycopg.connect(url, autocommit=True) as connection:
        version = connection.info.server_version // 10000
        for number, (type_,) in enumerate(connection.execute(_TYPES).fetchall()):
            table = f"public.t{number}"
            if type_ in TAKES_NO_TEXT:
                with pytest.raises(psycopg.Error, match=r"cannot accept|not implemented"):
                    connection.execute(f"SELECT ''::{type_}".encode())
                connection.execute(f"CREATE TABLE {table} (v {type_})".encode())
                connection.execute(f"INSERT INTO {table} VALUES (NULL)".encode())
            elif type_ == "xml" and not _has_xml(connection):
                continue
            elif type_ not in EXAMPLES:
                without_example.append(type_)
                continue
            else:
                since = [v for start, more in SINCE.items() if version >= start
                         for v in more.get(type_, [])]  # fmt: skip
                _fill(connection, table, type_, EXAMPLES[type_] + since)
            tables[table] = type_
    assert not without_example, f"Postgres {version} has types without an example here"
    assert len(tables) > 60
    with round_trip(url) as trip:
        for table, type_ in tables.items():
            trip.survives(table, to_the_bit=type_ not in HAS_NO_BINARY_FORM)


def test_type_modifiers_survive(any_cluster: EmbeddedPostgres, new_database: NewDatabase) -> None:
    url = new_database(any_cluster)
    with psycopg.connect(url, autocommit=True) as connection:
        for number, (type_, values) in enumerate(WITH_MODIFIERS.items()):
            _fill(connection, f"public.m{number}", type_, values)
    with round_trip(url) as trip:
        for number in range(len(WITH_MODIFIERS)):
            trip.survives(f"public.m{number}")


def test_user_types_survive(any_cluster: EmbeddedPostgres, new_database: NewDatabase) -> None:
    url = new_database(any_cluster)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""
            CREATE SCHEMA "Odd Schema";
            CREATE TYPE "Odd Schema"."mo od" AS ENUM (
                '', 'it''s', 'a,b', '"q"', '\\', '{x}', 'NULL', '😀');
            CREATE DOMAIN public.yes AS boolean;
            CREATE DOMAIN public.small AS integer CHECK (VALUE < 100);
            CREATE DOMAIN public.short AS character(4);
            CREATE TYPE public.pair AS (a text, b integer, "c d" "Odd Schema"."mo od");
            CREATE DOMAIN public.whole AS public.pair CHECK ((VALUE).b IS NULL OR (VALUE).b > 0);
            CREATE TYPE public.nest AS (p public.pair, l public.pair[]);
            CREATE TYPE public.text_range AS RANGE (subtype = text, collation = "C");
            CREATE TABLE public.u (
                e "Odd Schema"."mo od", es "Odd Schema"."mo od"[], y public.yes, s public.small,
                sh public.short, p public.pair, ps public.pair[], w public.whole, n public.nest,
                r public.text_range, rs public.text_range[], m public.text_multirange,
                ys public.yes[]);
            INSERT INTO public.u (e, es)
                SELECT x, ARRAY[x, NULL] FROM unnest(enum_range(NULL::"Odd Schema"."mo od")) x;
            INSERT INTO public.u (y, s, sh, ys) VALUES
                (true, 7, 'ab', '{t,f,NULL}'), (false, -1, '', '{}'), (NULL, NULL, NULL, NULL);
            INSERT INTO public.u (p, w, ps, n) VALUES
                (ROW(NULL, NULL, NULL), ROW(NULL, NULL, NULL), ARRAY[NULL::public.pair,
                    ROW(NULL, NULL, NULL)::public.pair], ROW(NULL, '{}')),
                (ROW('', 1, ''), ROW('a"b\\', 1, '{x}'), '{}', ROW(ROW('(,)', 2, '"q"'),
                    ARRAY[ROW(E'\n', 3, 'NULL')::public.pair])),
                (NULL, NULL, NULL, NULL);
            INSERT INTO public.u (r, rs, m) VALUES
                ('empty', '{empty,NULL}', '{}'), ('["a,b","c\\"d")', '{}', '{["","x]"),["y",)}'),
                ('(,)', NULL, '{(,)}');
        """)  # fmt: skip
    with round_trip(url) as trip:
        lines = [json.loads(line) for line in trip.survives("public.u").splitlines()]
    assert {"(,,)", None} <= {line["p"] for line in lines}
    assert {line["y"] for line in lines} == {"t", "f", None}


def test_ranges_and_multiranges_survive(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    url = new_database(any_cluster)
    with psycopg.connect(url, autocommit=True) as connection:
        known = connection.execute(
            "SELECT typname FROM pg_type WHERE typtype IN ('r', 'm')"
            " AND typnamespace = 'pg_catalog'::regnamespace"
        ).fetchall()
        assert {name for (name,) in known} == RANGES.keys(), "a range without an example"
        for type_, values in RANGES.items():
            _fill(connection, f"public.of_{type_}", type_, values)
    with round_trip(url) as trip:
        for type_ in RANGES:
            trip.survives(f"public.of_{type_}")


def test_a_cast_of_somebodys_own_is_not_used(database: str) -> None:
    """Casts to text may be anybody's function; the output function is the type's own."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("""
            CREATE TYPE public.mood AS ENUM ('sad', 'happy');
            CREATE FUNCTION public.no(public.mood) RETURNS text LANGUAGE sql AS 'SELECT ''no''';
            CREATE FUNCTION public.no(uuid) RETURNS text LANGUAGE sql AS 'SELECT ''no''';
            CREATE CAST (public.mood AS text) WITH FUNCTION public.no(public.mood) AS IMPLICIT;
            CREATE CAST (uuid AS text) WITH FUNCTION public.no(uuid) AS IMPLICIT;
            CREATE TABLE public.t AS SELECT 'happy'::public.mood m, gen_random_uuid() u;
        """)
    with round_trip(database) as trip:
        assert '"m":"happy"' in trip.survives("public.t")


def test_a_user_type_that_is_named_like_a_built_in_one_is_text(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("""
            CREATE TYPE public."integer" AS ENUM ('one');
            CREATE TYPE public.bool AS ENUM ('maybe');
            CREATE DOMAIN public.text AS character(3);
            CREATE TABLE public.t (i public."integer", b public.bool, t public.text);
            INSERT INTO public.t VALUES ('one', 'maybe', 'a');
        """)
    with round_trip(database) as trip:
        assert trip.survives("public.t") == '{"i":"one","b":"maybe","t":"a  "}\n'


def test_the_upper_half_of_char_is_text_in_every_version(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    """Postgres 14 and 15 would write a byte that is no UTF-8; only 16 reads it back."""
    url = new_database(any_cluster)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("""CREATE TABLE public.t (c "char")""")
        connection.execute(
            """INSERT INTO public.t SELECT i::"char" FROM generate_series(-128, -1) i"""
        )
        version = connection.info.server_version
    with round_trip(url) as trip:
        text = trip.survives("public.t") if version >= 160000 else trip.ndjson("public.t")
    values = [json.loads(line)["c"] for line in text.splitlines()]
    assert values == [f"\\{byte:o}" for byte in range(128, 256)]


@pytest.mark.parametrize(
    ("type_", "encoding"),
    [("boolean", "boolean"), ("smallint", "integer"), ("integer", "integer"), ("bigint", "integer"),
     ("numeric", "text"), ("oid", "text"), ("integer[]", "text"), ("public.integer", "text"),
     ("double precision", "text"), ("real", "text")],
)  # fmt: skip
def test_only_booleans_and_integers_travel_as_such(type_: str, encoding: str) -> None:
    assert encoding_of(type_) == encoding


def test_names_are_quoted() -> None:
    column = Column('a"b', 1, "uuid", "text", False, "", "")
    assert masked_expression(column).endswith(' AS "a""b"')


def _has_xml(connection: psycopg.Connection) -> bool:
    """The wheel's Postgres is built without; then no table can hold such a value."""
    try:
        connection.execute("SELECT '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True
