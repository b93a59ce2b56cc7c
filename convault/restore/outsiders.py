"""Rows of tables outside the backup that a restore or its undo would remove or change as well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.errors import RestoreError
from convault.formats.postgres_types import quoted, value_expression
from convault.models import TableName
from convault.restore.kept import Kept
from convault.restore.matching import Match, live_match

_KEYS = """
    SELECT c.conname, n.nspname, r.relname, r.oid::pg_catalog.int8,
        c.confdeltype::pg_catalog.text, c.confupdtype::pg_catalog.text, (
            SELECT array_agg(a.attname ORDER BY k.place)
            FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number),
        (
            SELECT array_agg(a.attname ORDER BY k.place)
            FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number),
        (
            SELECT array_agg(pg_catalog.format('OPERATOR(%%I.%%s)', s.nspname, o.oprname)
                ORDER BY k.place)
            FROM unnest(c.conpfeqop) WITH ORDINALITY AS k (oid, place)
            JOIN pg_catalog.pg_operator o ON o.oid = k.oid
            JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace),
        has_table_privilege(r.oid, 'SELECT')
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
    WHERE c.confrelid = %(oid)s::pg_catalog.oid AND c.contype = 'f' AND c.conparentid = 0
        AND c.conrelid <> ALL (%(inside)s::pg_catalog.oid[])
        AND NOT r.oid IN (SELECT i.relid FROM unnest(%(inside)s::pg_catalog.oid[]) AS top (oid)
            CROSS JOIN LATERAL pg_catalog.pg_partition_tree(top.oid) i)
    ORDER BY 2, 3, 1
"""

_ACTIONS = {"c": "would be removed with them", "n": "would lose the reference",
            "d": "would get another reference"}  # fmt: skip
"""by pg_constraint.confdeltype; any other lets the row that is referenced not go"""
_DEPTH = 8
"""how far a chain of ON DELETE CASCADE is followed"""


@dataclass(frozen=True, slots=True)
class Outsiders:
    """Rows of one table, by one foreign key."""

    connection: psycopg.Connection[Any]
    table: TableName
    constraint: str
    action: str
    rows: int
    match: Match
    source: str
    """SQL, from FROM on, that gives the rows as `t`"""
    follows: bool
    """they only become what the row that they reference becomes (ON UPDATE CASCADE)"""

    @property
    def forbidden(self) -> bool:
        """Whether the key keeps the referenced row from going."""
        return not self.follows and self.action not in _ACTIONS

    @property
    def tables(self) -> list[TableName]:
        """Whose triggers must not fire."""
        return [self.table]

    def described(self) -> str:
        """For the question whether they may go."""
        return (
            f"{self.rows} rows of {self.table}, which is not part of the backup, "
            f"{_ACTIONS.get(self.action, '')} (by {self.constraint})"
        )

    def keep(self, kept: Kept) -> None:
        """Copy them for an undo."""
        if self.follows:
            return  # as they followed here, they follow back
        kept.table(self.match).add("removed" if self.action == "c" else "overwritten", self.source)


@dataclass(frozen=True, slots=True)
class Moved:
    """A live table, and what becomes of its rows."""

    match: Match
    gone: str | None
    """a query of the live rows that go"""
    becomes: str | None
    """a table with the columns of `match`: what live rows of the same key become"""

    def changed(self, columns: Sequence[str]) -> str | None:
        """A query of the live rows in which one of the columns becomes another value."""
        changing = [
            column
            for column in self.match.columns
            if column.name in columns and column.name not in {*self.match.key, *self.match.masked}
        ]
        if self.becomes is None or not self.match.key or not changing:
            return None
        now, then = (
            f"ROW({', '.join(value_expression(column, row) for column in changing)})"
            for row in ("t", "s")
        )
        return (
            f"SELECT t.* FROM {self.match.table} t JOIN {self.becomes} s ON"
            f" {self.match.same('t', 's')} WHERE {now}::pg_catalog.text <> {then}::pg_catalog.text"
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """Rows that go or change, and who may follow them is to be found."""

    oid: int
    gone: str | None
    changed: Callable[[Sequence[str]], str | None]
    depth: int


def outsiders(connection: psycopg.Connection[Any], inside: Sequence[Moved]) -> list[Outsiders]:
    """What references rows that go, or values of rows that change, and what references rows that
    would go or change with those. RestoreError for a table that this role may not read."""
    found: list[Outsiders] = []
    oids = [moved.match.oid for moved in inside]
    # Nothing can reference a row without a key.
    waiting = [_Step(m.match.oid, m.gone, m.changed, 0) for m in inside if m.match.key]
    for step in waiting:
        keys = connection.execute(_KEYS, {"oid": step.oid, "inside": oids}).fetchall()
        for name, schema, table, own, deletes, updates, columns, others, operators, may in keys:
            changed = step.changed(others) if updates in _ACTIONS else None
            for moving, action, going in ((step.gone, deletes, True), (changed, updates, False)):
                if moving is None:
                    continue
                if not may:
                    raise RestoreError(
                        f"{schema}.{table} references rows that may go or change, and this role "
                        "may not read it. Nothing was changed: GRANT SELECT, or restore as the "
                        "owner."
                    )
                outside = live_match(connection, TableName(schema, table))
                assert outside is not None
                same = " AND ".join(
                    f"g.{quoted(there)} {operator} t.{quoted(here)}"
                    for here, there, operator in zip(columns, others, operators, strict=True)
                )
                source = (
                    f"FROM {outside.table} t WHERE EXISTS (SELECT FROM ({moving}) g WHERE {same})"
                )
                count = connection.execute(f"SELECT count(*) {source}".encode()).fetchone()
                if not count or not count[0]:
                    continue
                # What could not be put back is not touched.
                done = "a" if action in "nd" and not outside.key else action
                follows = not going and action == "c"
                found.append(
                    Outsiders(
                        connection, outside.name, name, done, count[0], outside, source, follows
                    )
                )
                if action in _ACTIONS and step.depth < _DEPTH:
                    rows = f"SELECT t.* {source}"
                    goes = going and action == "c"
                    waiting.append(
                        _Step(
                            own, rows if goes else None,
                            _of_those(() if goes else columns, rows), step.depth + 1,
                        )
                    )  # fmt: skip
    return found


def _of_those(changing: Sequence[str], rows: str) -> Callable[[Sequence[str]], str | None]:
    """`Moved.changed` for rows whose new values nobody knows yet."""
    return lambda columns: rows if set(columns) & set(changing) else None
