"""Generated columns: the target computes them again, and may come to other values.

A source keeps what it once computed, also when the function was changed since. What the backup
holds of them is loaded beside the table and compared there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.formats.copy_text import loadable
from convault.formats.postgres_types import quoted, value_expression
from convault.manifest import TableEntry
from convault.models import Column, TableName


@dataclass(frozen=True, slots=True)
class Expected:
    """A temporary table for what the backup holds of the generated columns of a table."""

    table: TableName
    only: str
    columns: tuple[Column, ...]
    """that tell rows apart, and the generated ones"""
    place: str
    """the temporary table"""

    @property
    def names(self) -> str:
        """For a list in SQL."""
        return ", ".join(quoted(column.name) for column in self.columns)

    @property
    def copy_statement(self) -> str:
        """Takes what `copy_text.to_copy_text` makes of `columns`."""
        return f"COPY {self.place} ({self.names}) FROM STDIN"

    def differing(self, connection: psycopg.Connection[Any]) -> int:
        """Rows of the table that have other generated values than in the backup; to be asked once,
        when all are loaded."""
        row = ", ".join(value_expression(column) for column in self.columns)
        digest = f"pg_catalog.sha256(pg_catalog.convert_to(ROW({row})::pg_catalog.text, 'UTF8'))"
        found = connection.execute(
            f"""
            SELECT coalesce(sum(n) FILTER (WHERE n > 0), 0)::pg_catalog.int8 FROM (
                SELECT sum(n) AS n FROM (
                    SELECT {digest} AS digest, 1 AS n FROM {self.only}{self.table.quoted}
                    UNION ALL SELECT {digest}, -1 FROM {self.place}
                ) rows GROUP BY digest
            ) digests
            """.encode()
        ).fetchone()
        connection.execute(f"DROP TABLE {self.place}".encode())
        return int(found[0]) if found else 0


def expected(
    connection: psycopg.Connection[Any], into: TableName, tables: Sequence[TableEntry], *,
    alone: bool, number: int,
) -> Expected | None:  # fmt: skip
    """Room for the backup's values of the generated columns of `tables`, whose rows are loaded
    `into` a table: its own rows `alone`, or those of all its partitions. None when there are no
    such columns. `number` is another one for each."""
    columns = tables[0].columns
    generated = [column for column in columns if column.generated]
    if not generated:
        return None
    given = loadable(columns)
    keys = {frozenset(table.primary_key) for table in tables if table.parts}
    key = [c for c in given if len(keys) == 1 and {c.name} <= next(iter(keys))]
    only = "ONLY " if alone else ""
    place = f"pg_temp.convault_generated_{number}"
    found = Expected(into, only, (*(key or given), *generated), place)
    connection.execute(
        f"CREATE TEMPORARY TABLE {place.removeprefix('pg_temp.')} AS SELECT {found.names}"
        f" FROM {only}{into.quoted} WITH NO DATA".encode()
    )
    return found
