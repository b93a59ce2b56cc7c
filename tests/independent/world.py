"""A database with a column of every type, odd names, partitions, children, and odd values."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql

from tests.formats.type_examples import EXAMPLES, TAKES_NO_TEXT, WITH_MODIFIERS

TABLES = Path(__file__).with_name("world.sql")


def fill(url: str) -> None:
    """Make the tables in an empty database: those of `world.sql`, and `kinds` with a column of
    every type. Of `xml` there are no values: the wheel's Postgres is built without."""
    types = {
        name: [] if name == "xml" else values
        for name, values in {**EXAMPLES, **WITH_MODIFIERS}.items()
        if name not in TAKES_NO_TEXT
    }
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(name)) for name in types
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES.read_bytes())
        connection.execute("SET xmloption = content; SET timezone = 'UTC'")
        connection.execute(
            sql.SQL("CREATE TABLE kinds (id int REFERENCES conversations, {})").format(columns)
        )
        longest = max(map(len, types.values()))
        for n in range(longest + 1):
            row = [values[n] if n < len(values) else None for values in types.values()]
            connection.execute(
                sql.SQL("INSERT INTO kinds VALUES ({})").format(
                    sql.SQL(", ").join(map(sql.Literal, [n + 1 if n < 30 else None, *row]))
                )
            )
