"""What no statement can reproduce is refused by name, not left out."""

from __future__ import annotations

import pytest

from convault.errors import UnsupportedSource
from tests.schema.judge import read, run

OPERATOR = """
    CREATE FUNCTION public.same(text, text) RETURNS bool LANGUAGE sql IMMUTABLE RETURN $1 = $2;
    CREATE OPERATOR public.=== (FUNCTION = public.same, LEFTARG = text, RIGHTARG = text);
"""


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        (f"{OPERATOR} CREATE TABLE t (a text CONSTRAINT c CHECK (a OPERATOR(public.===) 'x'))",
         r"operator public\.===\(.*that c on public\.t needs"),
        ("CREATE TYPE public.odd; CREATE FUNCTION public.odd_in(cstring) RETURNS public.odd"
         " LANGUAGE internal IMMUTABLE STRICT AS 'textin';"
         " CREATE FUNCTION public.odd_out(public.odd) RETURNS cstring"
         " LANGUAGE internal IMMUTABLE STRICT AS 'textout';"
         " CREATE TYPE public.odd (INPUT = public.odd_in, OUTPUT = public.odd_out, LIKE = text);"
         " CREATE TABLE t (a public.odd[])", r"type public\.odd"),
        ("CREATE OPERATOR CLASS public.backwards FOR TYPE int USING btree AS"
         " OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <,"
         " FUNCTION 1 btint4cmp(int, int); CREATE TABLE t (a int);"
         " CREATE INDEX i ON t (a public.backwards)", r"operator class public\.backwards"),
        ("CREATE AGGREGATE public.total(int) (SFUNC = int4pl, STYPE = int);"
         " CREATE FUNCTION public.f() RETURNS int LANGUAGE sql STABLE"
         " BEGIN ATOMIC SELECT public.total(g) FROM generate_series(1, 2) g; END;"
         " CREATE TABLE t (a int DEFAULT public.f())", r"aggregate public\.total"),
        ("CREATE TABLE t (id int PRIMARY KEY, a text); CREATE FUNCTION public.f() RETURNS text"
         " LANGUAGE sql STABLE BEGIN ATOMIC SELECT a FROM public.t GROUP BY id LIMIT 1; END;"
         " ALTER TABLE t ALTER a SET DEFAULT public.f()", r"public\.f\(\) needs t_pkey on"),
        ("CREATE FUNCTION public.f(n int) RETURNS int LANGUAGE sql RETURN n;"
         " CREATE FUNCTION public.g(n int) RETURNS int LANGUAGE sql RETURN public.f(n);"
         " CREATE OR REPLACE FUNCTION public.f(n int) RETURNS int LANGUAGE sql"
         " RETURN public.g(n); CREATE TABLE t (a int DEFAULT public.f(1))", r"needs public\.[fg]"),
    ],
    ids=["operator", "base type", "operator class", "aggregate", "primary key", "circle"],
)  # fmt: skip
def test_refused(database: str, sql: str, named: str) -> None:
    run(database, sql)
    with pytest.raises(UnsupportedSource, match=named) as refusal:
        read(database)
    assert "Nothing was backed up" in refusal.value.message


def test_what_the_tables_do_not_reach_refuses_nothing(database: str) -> None:
    run(database, f"{OPERATOR} CREATE TABLE t (a text)")
    assert [s.kind for s in read(database)] == ["table"]
