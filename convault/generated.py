"""Generated columns: the target computes them again, and may come to other values.

A source keeps what it once computed, also when the function was changed since. What the backup
holds of them is loaded beside the table and compared there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.formats.copy_text import loadable
from convault.formats.postgres_types import quoted, value_expression
from convault.manifest import TableEntry
from convault.models import Column, TableName

_TABLE = "pg_temp.convault_generated"


@dataclass(frozen=True, slots=True)
class Expected:
    """A temporary table for what the backup holds of the generated columns of a table."""

    table: TableName
    only: str
    columns: tuple[Column, ...]
    """that tell rows apart, and the generated ones"""

    @property
    def names(self) -> str:
        """For a list in SQL."""
        return ", ".join(quoted(column.name) for column in self.columns)

    @property
    def copy_statement(self) -> str:
        """Takes what `copy_text.to_copy_text` makes of `columns`."""
        return f"COPY {_TABLE} ({self.names}) FROM STDIN"

    def differing(self, connection: psycopg.Connection[Any]) -> int:
        """Rows of the table that have other generated values than in the backup."""
        row = ", ".join(value_expression(column) for column in self.columns)
        digest = f"pg_catalog.sha256(pg_catalog.convert_to(ROW({row})::pg_catalog.text, 'UTF8'))"
        found = connection.execute(
            f"""
            SELECT coalesce(sum(n) FILTER (WHERE n > 0), 0)::pg_catalog.int8 FROM (
                SELECT sum(n) AS n FROM (
                    SELECT {digest} AS digest, 1 AS n FROM {self.only}{self.table.quoted}
                    UNION ALL SELECT {digest}, -1 FROM {_TABLE}
                ) rows GROUP BY digest
            ) digests
            """.encode()
        ).fetchone()
        return int(found[0]) if found else 0


@contextmanager
def expected(
    connection: psycopg.Connection[Any], into: TableName, tables: Sequence[TableEntry]
) -> Iterator[Expected | None]:
    """Room for the backup's values of the generated columns of `tables`, whose rows are loaded
    `into` their own or a partitioned table; None when there are no such columns."""
    columns = tables[0].columns
    generated = [column for column in columns if column.generated]
    if not generated:
        yield None
        return
    given = loadable(columns)
    keys = {frozenset(table.primary_key) for table in tables if table.parts}
    key = [c for c in given if len(keys) == 1 and {c.name} <= next(iter(keys))]
    only = "ONLY " if [table.name for table in tables] == [into] else ""
    found = Expected(into, only, (*(key or given), *generated))
    connection.execute(
        f"CREATE TEMPORARY TABLE convault_generated AS SELECT {found.names}"
        f" FROM {only}{into.quoted} WITH NO DATA".encode()
    )
    yield found
    connection.execute(f"DROP TABLE {_TABLE}".encode())
