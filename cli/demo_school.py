"""The databases of the demo's Postgres, and the school in one of them."""

from __future__ import annotations

import psycopg
from psycopg import sql

from convault.embedded import demo_data
from convault.embedded.server import EmbeddedPostgres

SCHOOL = "school"
"""the database that the demo backs up"""


def ensure_school(server: EmbeddedPostgres, messages: int) -> int:
    """Make a school up, with so many messages, unless there is a whole one; how many were made."""
    if exists(server.url(), SCHOOL) and demo_data.filled(server.url(SCHOOL)) is not None:
        return 0
    recreate(server.url(), SCHOOL)
    demo_data.fill(server.url(SCHOOL), messages=messages)
    return messages


def exists(url: str, database: str) -> bool:
    """Whether the server at `url` has a database of that name."""
    with psycopg.connect(url) as connection:
        query = "SELECT FROM pg_database WHERE datname = %s"
        return connection.execute(query, (database,)).fetchone() is not None


def recreate(url: str, database: str) -> None:
    """Have an empty database of that name."""
    name = sql.Identifier(database)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
