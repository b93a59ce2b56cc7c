"""Queries on the system catalogs, under settings that spell out every name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from convault.sources.failures import translated
from convault.sources.session import SETTINGS


class Catalogs:
    """The catalogs as one transaction sees them. Queries are set-based: oids in, rows out."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.version = connection.info.server_version // 10000
        """the server's major version"""

    def rows(self, query: str, parameters: Mapping[str, object] | None = None) -> list[Any]:
        """All rows, with the columns as attributes. SourceError when the server refuses."""
        with translated(), self._connection.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(query.encode(), parameters).fetchall()


@contextmanager
def catalogs(connection: psycopg.Connection[Any]) -> Iterator[Catalogs]:
    """Read in the connection's transaction (or in one of its own) and leave no setting and no lock
    behind.

    Postgres' deparse functions write constants as the session would show them and leave out the
    schema of whatever search_path finds, so the settings are made here, whoever connected.
    """
    values = {**SETTINGS, "quote_all_identifiers": "off"}
    calls = ", ".join(
        f"pg_catalog.set_config('{name}', '{value}', true) AS \"{name}\""
        for name, value in values.items()
    )
    with translated(), connection.transaction(force_rollback=True):
        found = Catalogs(connection)
        found.rows(f"SELECT {calls}")
        yield found


def qualified(schema: str, name: str) -> str:
    """SQL for the quoted name that stands in two columns of a query."""
    return f"pg_catalog.quote_ident({schema}) || '.' || pg_catalog.quote_ident({name})"
