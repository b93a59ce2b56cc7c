"""A value of a row type is written by position: a restore must keep the order of the columns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from convault.embedded.server import EmbeddedPostgres
from tests.schema.judge import pg_dump, read, rows, run, write

NewDatabase = Callable[[EmbeddedPostgres], str]

FAMILY = """
    CREATE TABLE par (a int);
    CREATE TABLE other (x int DEFAULT 5, a int);
    CREATE TABLE chi (b int, c int NOT NULL CHECK (c > 0)) INHERITS (par, other);
    CREATE TABLE grand (d int) INHERITS (chi);
    ALTER TABLE par ADD COLUMN n int DEFAULT 7;
    ALTER TABLE par ADD CONSTRAINT small CHECK (n < 100);
    CREATE TYPE pair AS (one grand, two int);
"""
"""chi and grand would have n before their own columns"""
ORDER = """
    SELECT attrelid::regclass::text, attname::text,
        pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a
    LEFT JOIN pg_attrdef d ON d.adrelid = attrelid AND d.adnum = attnum
    WHERE attrelid IN ('chi'::regclass, 'grand'::regclass) AND attnum > 0 AND NOT attisdropped
    ORDER BY attrelid::regclass::text, attnum
"""


@pytest.mark.parametrize(
    "columns",
    ["v chi, w chi", "v chi[], w grand[]", "w pair"],
    ids=["chi", "arrays", "grand within a type"],
)
def test_an_heir_whose_rows_are_values_keeps_its_order(
    any_cluster: EmbeddedPostgres, new_database: NewDatabase, columns: str
) -> None:
    source, target = new_database(any_cluster), new_database(any_cluster)
    run(source, f"{FAMILY} CREATE TABLE holder ({columns})")
    write(target, read(source))
    named = {"chi"} if "chi," in columns else {"grand"} if "pair" in columns else {"chi", "grand"}
    for table in named:
        of_table = [row for row in rows(source, ORDER) if row[0] == table]
        assert [row for row in rows(target, ORDER) if row[0] == table] == of_table
    inherits = "SELECT inhrelid::regclass::text, inhparent::regclass::text, inhseqno" \
               " FROM pg_inherits ORDER BY 1, 3"  # fmt: skip
    assert rows(target, inherits) == rows(source, inherits)
    checks = "SELECT conrelid::regclass::text, conname::text, conislocal FROM pg_constraint" \
             " WHERE contype = 'c' ORDER BY 1, 2"  # fmt: skip
    assert rows(target, checks) == rows(source, checks)


def test_a_value_of_an_heirs_row_type_keeps_its_attributes(
    database: str, cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    target = new_database(cluster)
    run(database, f"{FAMILY} CREATE TABLE holder (v chi, w pair)")
    value = "(1,2,3,4,5)"
    fill = f"INSERT INTO public.holder VALUES ('{value}', '(\"(1,2,3,4,5,6)\",7)')"
    run(database, fill)
    write(target, read(database), rows=fill)
    query = "SELECT to_jsonb(v), to_jsonb(w) FROM holder"
    assert rows(target, query) == rows(database, query)


def test_an_heir_whose_rows_are_no_values_goes_on_inheriting_its_columns(
    database: str, cluster: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    """It takes no value by position, so nothing is given up for its order."""
    target = new_database(cluster)
    run(database, FAMILY.replace("CREATE TYPE pair AS (one grand, two int);", ""))
    write(target, read(database))
    # pg_dump tells inherited defaults in the order of the columns, which is another.
    assert sorted(pg_dump(target).splitlines()) == sorted(pg_dump(database).splitlines())
    run(target, "ALTER TABLE par DROP COLUMN n")
    columns = [name for table, name, _ in rows(target, ORDER) if table == "chi"]
    assert "n" not in columns
