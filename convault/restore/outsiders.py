"""Rows of tables outside the backup that reference rows which a restore would remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.errors import RestoreError
from convault.formats.postgres_types import quoted
from convault.models import TableName
from convault.restore.kept import Kept
from convault.restore.matching import Match, live_match

_KEYS = """
    SELECT c.conname, n.nspname, r.relname, r.oid::pg_catalog.int8,
        c.confdeltype::pg_catalog.text, (
            SELECT array_agg(a.attname ORDER BY k.place)
            FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number),
        (
            SELECT array_agg(a.attname ORDER BY k.place)
            FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number),
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

    @property
    def forbidden(self) -> bool:
        """Whether the key keeps the referenced row from going."""
        return self.action not in _ACTIONS

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
        kept.table(self.match).add("removed" if self.action == "c" else "overwritten", self.source)


def outsiders(
    connection: psycopg.Connection[Any], inside: Sequence[Match], staged: Mapping[TableName, str]
) -> list[Outsiders]:
    """What references rows of the live tables `inside` that are not `staged`, and what references
    rows that would go with those. RestoreError for a table that this role may not read."""
    found: list[Outsiders] = []
    oids = [match.oid for match in inside]
    waiting: list[tuple[int, str, int]] = []
    for match in inside:
        absent = (
            f"SELECT t.* FROM {match.table} t WHERE NOT EXISTS (SELECT FROM"
            f" {match.source(staged[match.name])} s WHERE {match.same('t', 's')})"
        )
        if match.key:  # nothing can reference a row without one
            waiting.append((match.oid, absent, 0))
    for oid, gone, depth in waiting:
        rows = connection.execute(_KEYS, {"oid": oid, "inside": oids}).fetchall()
        for name, schema, table, own, action, columns, referenced, readable in rows:
            if not readable:
                raise RestoreError(
                    f"{schema}.{table} references rows that may go, and this role may not read it. "
                    "Nothing was changed: GRANT SELECT, or restore as the owner."
                )
            outside = live_match(connection, TableName(schema, table))
            assert outside is not None
            same = " AND ".join(
                f"g.{quoted(there)} = t.{quoted(here)}"
                for here, there in zip(columns, referenced, strict=True)
            )
            source = f"FROM {outside.table} t WHERE EXISTS (SELECT FROM ({gone}) g WHERE {same})"
            count = connection.execute(f"SELECT count(*) {source}".encode()).fetchone()
            if not count or not count[0]:
                continue
            # What could not be put back is not touched.
            done = "a" if action in "nd" and not outside.key else action
            found.append(Outsiders(connection, outside.name, name, done, count[0], outside, source))
            if action == "c" and depth < _DEPTH:
                waiting.append((own, f"SELECT t.* {source}", depth + 1))
    return found
