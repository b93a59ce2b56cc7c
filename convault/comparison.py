"""Two databases, row by row: whether what was restored is what was there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from convault.errors import MissingTable
from convault.formats.postgres_types import encoding_of, value_expression
from convault.models import Column, TableName
from convault.progress import report
from convault.sources import session
from convault.sources.failures import translated

_FETCH_ROWS = 10_000
"""digests (32 bytes each) that are fetched at a time"""


@dataclass(frozen=True, slots=True)
class TableComparison:
    """One table in both databases. Rows are counted as often as they occur."""

    table: TableName
    rows_in_both: int
    only_in_source: int
    only_in_target: int

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows, each as often."""
        return not self.only_in_source and not self.only_in_target


def compare(source_url: str, target_url: str, tables: Sequence[TableName]) -> list[TableComparison]:
    """Every row of every table, as a multiset, both ways; partitions and children by themselves.

    The servers sort SHA-256 digests of their rows (each value by its type's output function, with
    the names and types of the columns), so that memory is bounded whatever the rows are. Each side
    is read in one snapshot. MissingTable and the other SourceErrors.
    """
    results = []
    with translated(), ExitStack() as stack:
        source, target = (_snapshot(stack, url) for url in (source_url, target_url))
        for number, table in enumerate(tables):
            report("compare", str(table), done=number, total=len(tables), unit="tables")
            results.append(_compare(source, target, table))
    return results


def _snapshot(stack: ExitStack, url: str) -> psycopg.Connection[Any]:
    connection = session.connect(url)
    stack.callback(connection.close)
    stack.enter_context(connection.transaction())
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    return connection


def _compare(
    source: psycopg.Connection[Any], target: psycopg.Connection[Any], table: TableName
) -> TableComparison:
    both = only_in_source = only_in_target = 0
    left, right = _digests(source, table), _digests(target, table)
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] < b[0]):
            assert a is not None
            only_in_source += a[1]
            a = next(left, None)
        elif a is None or b[0] < a[0]:
            only_in_target += b[1]
            b = next(right, None)
        else:
            both += min(a[1], b[1])
            only_in_source += max(a[1] - b[1], 0)
            only_in_target += max(b[1] - a[1], 0)
            a, b = next(left, None), next(right, None)
    return TableComparison(table, both, only_in_source, only_in_target)


def _digests(connection: psycopg.Connection[Any], table: TableName) -> Iterator[tuple[bytes, int]]:
    """The digest of each different row, in order, and how often the row occurs."""
    columns = _columns(connection, table)
    described = json.dumps([(column.name, column.type) for column in columns])
    row = sql.SQL(", ").join(
        [sql.Literal(described), *(sql.SQL(value_expression(c)) for c in columns)]
    )
    query = sql.SQL(
        "SELECT pg_catalog.sha256(pg_catalog.convert_to(ROW({row})::pg_catalog.text, 'UTF8')),"
        " count(*) FROM ONLY {table} GROUP BY 1 ORDER BY 1"
    ).format(row=row, table=sql.Identifier(*table))
    with connection.cursor("digests", binary=True) as cursor:
        cursor.itersize = _FETCH_ROWS
        yield from cursor.execute(query)


def _columns(connection: psycopg.Connection[Any], table: TableName) -> list[Column]:
    """By name: their order is not content, and a partition may have another than its parent."""
    rows = connection.execute(
        "SELECT a.attname, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod),"
        " a.attnotnull, a.attgenerated, a.attidentity, a.attnum IS NULL"
        " FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_catalog.pg_attribute a"
        " ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        ' WHERE n.nspname = %s AND c.relname = %s ORDER BY a.attname COLLATE "C"',
        tuple(table),
    ).fetchall()
    if not rows:
        raise MissingTable(
            f"There is no table {table} in {connection.info.dbname}: compare databases that hold "
            "the same tables.",
            table=table,
        )
    return [
        Column(name, number, type_, encoding_of(type_), not_null, generated, identity)
        for name, number, type_, not_null, generated, identity, no_column in rows
        if not no_column
    ]
