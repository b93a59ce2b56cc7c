"""Values that are in each other's way while rows of live tables change places.

A UNIQUE index is asked at every row, and a foreign key that restricts at every statement: neither
waits for the end of a transaction. So where two rows are to swap values, or a row is to leave
another one that goes, those values step aside first: they become NULL, which no index and no key
compares, and get what they are to be with everything else. No row is removed for that, so no ON
DELETE of anybody runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.formats.postgres_types import quoted
from convault.restore.guards import Guards
from convault.restore.matching import Match

IN_THE_WAY = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.ExclusionViolation,
    psycopg.errors.RestrictViolation,
    psycopg.errors.ForeignKeyViolation,
)
"""what Postgres says of such values, while foreign keys that can wait do"""

# Of an index over an expression: every column that it is about.
_UNIQUE = """
    SELECT DISTINCT a.attname::pg_catalog.text
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0
        AND (a.attnum = ANY (i.indkey::pg_catalog.int2[]) OR EXISTS (
            SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.objid = i.indexrelid
                AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
    WHERE i.indrelid = %s::pg_catalog.oid AND (i.indisunique OR i.indisexclusion)
        AND NOT i.indisprimary
"""

# Keys among the tables that act at once: they restrict, cascade, or set something.
_KEYS = """
    SELECT c.conrelid::pg_catalog.int8, c.confrelid::pg_catalog.int8,
        array_agg(o.attname::pg_catalog.text ORDER BY k.place),
        array_agg(r.attname::pg_catalog.text ORDER BY k.place),
        array_agg(pg_catalog.format('OPERATOR(%%I.%%s)', n.nspname, p.oprname) ORDER BY k.place),
        c.confdeltype <> 'r' AND c.confdeltype <> 'a' OR c.confupdtype <> 'r'
            AND c.confupdtype <> 'a',
        c.confmatchtype = 'f'
    FROM pg_catalog.pg_constraint c
    CROSS JOIN LATERAL unnest(c.conkey, c.confkey, c.conpfeqop)
        WITH ORDINALITY AS k (own, other, operator, place)
    JOIN pg_catalog.pg_attribute o ON o.attrelid = c.conrelid AND o.attnum = k.own
    JOIN pg_catalog.pg_attribute r ON r.attrelid = c.confrelid AND r.attnum = k.other
    JOIN pg_catalog.pg_operator p ON p.oid = k.operator
    JOIN pg_catalog.pg_namespace n ON n.oid = p.oprnamespace
    WHERE c.contype = 'f' AND c.conparentid = 0 AND c.conrelid = ANY (%(oids)s::pg_catalog.oid[])
        AND c.confrelid = ANY (%(oids)s::pg_catalog.oid[])
        AND (c.confdeltype <> 'a' OR c.confupdtype <> 'a')
    GROUP BY c.oid, c.conrelid, c.confrelid, c.confdeltype, c.confupdtype, c.confmatchtype
    ORDER BY c.oid
"""

# A value that others outside follow (ON UPDATE CASCADE and the like) must not even step aside.
_FOLLOWED = """
    SELECT DISTINCT a.attname::pg_catalog.text
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = ANY (c.confkey)
    WHERE c.contype = 'f' AND c.confrelid = %(oid)s::pg_catalog.oid AND c.confupdtype <> 'a'
        AND c.conrelid <> ALL (%(oids)s::pg_catalog.oid[])
"""

# Of an index that is the replica identity no column may become NULL.
_IDENTITIES = """
    SELECT i.indrelid::pg_catalog.regclass::pg_catalog.text, r.relname::pg_catalog.text
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class r ON r.oid = i.indexrelid
    JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
    WHERE i.indisreplident AND NOT i.indisprimary AND t.relreplident = 'i'
        AND i.indrelid IN (SELECT %(oid)s::pg_catalog.oid
            UNION SELECT relid FROM pg_catalog.pg_partition_tree(%(oid)s::pg_catalog.oid))
"""

# NULLS NOT DISTINCT takes a single NULL, so that nothing can step aside. Where a foreign key leads
# to it, it stays. (An attribute of Postgres 15: before, the row as JSON has none.)
_ONE_NULL = """
    SELECT i.indexrelid::pg_catalog.regclass::pg_catalog.text,
        pg_catalog.pg_get_indexdef(i.indexrelid), c.conname::pg_catalog.text,
        pg_catalog.pg_get_constraintdef(c.oid), i.indisclustered, r.relname::pg_catalog.text,
        pg_catalog.quote_literal(coalesce(pg_catalog.obj_description(c.oid, 'pg_constraint'),
            pg_catalog.obj_description(i.indexrelid, 'pg_class')))
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class r ON r.oid = i.indexrelid AND NOT r.relispartition
    LEFT JOIN pg_catalog.pg_constraint c ON c.conindid = i.indexrelid
        AND c.contype IN ('u', 'x') AND c.conrelid = i.indrelid
    WHERE i.indrelid = %(oid)s::pg_catalog.oid AND i.indisunique AND NOT i.indisprimary
        AND pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct' = 'true'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint f
            WHERE f.contype = 'f' AND f.conindid = i.indexrelid)
    ORDER BY i.indexrelid
"""


_PLACE = "convault_aside_"


@dataclass(frozen=True, slots=True)
class Moving:
    """A live table, and which of its rows change or go."""

    match: Match
    moves: str
    """SQL about a row `t`: it changes or goes"""
    changes: str
    """SQL about a row `t`: whatever it holds meanwhile, it becomes what it is to be, or goes"""
    stays: str
    """SQL about a row `t`: it is there in the end"""


@dataclass(frozen=True, slots=True)
class _Key:
    table: Moving
    references: Moving
    aside: tuple[str, ...]
    """the columns that step aside"""
    same: str
    leaves: str
    """SQL about a row `t` that is referenced: what the key compares changes, or goes"""
    acts: bool
    """rows that reference would follow, by themselves and unseen"""

    def where(self, which: str) -> str:
        """SQL about a row `t` for which `which` holds, and that references one which moves."""
        above = self.references
        return (
            f"({which}) AND EXISTS (SELECT FROM (SELECT t.* FROM"
            f" {above.match.table} t WHERE {self.leaves}) p WHERE {self.same})"
        )


class Parking:
    """For the tables of one merge."""

    def __init__(
        self, connection: psycopg.Connection[Any], guards: Guards, tables: Sequence[Moving]
    ) -> None:
        self._connection = connection
        self._guards = guards
        self._tables = {moving.match.oid: moving for moving in tables}
        self._oids = list(self._tables)
        self._keys = self._found_keys()

    def needed(self) -> bool:
        """Whether a row that stays references one that goes or changes, by a key that would then
        remove or change it too."""
        for key in self._keys:
            where = key.where(key.table.stays)
            query = f"SELECT FROM {key.table.match.table} t WHERE {where} LIMIT 1"
            if key.acts and self._connection.execute(query.encode()).fetchone() is not None:
                return True
        return False

    def open(self) -> None:
        """Let every column be NULL that may have to step aside, until the guards are lowered. Must
        come before any row changes: a table with checks that wait cannot be altered."""
        for oid, moving in self._tables.items():
            aside = set(self._unique(oid)).union(
                *(key.aside for key in self._keys if key.table is moving)
            )
            if aside:
                self._make_way(moving.match)
            for column in moving.match.columns:
                if column.name in aside and column.not_null:
                    alter = f"ALTER TABLE {moving.match.name.quoted} ALTER {quoted(column.name)}"
                    self._guards.alter(f"{alter} DROP NOT NULL", f"{alter} SET NOT NULL")

    def _make_way(self, match: Match) -> None:
        """What would keep a column from being NULL, or more than one row of it."""
        oid = {"oid": match.oid}
        for table, index in self._connection.execute(_IDENTITIES, oid).fetchall():
            identity = f"ALTER TABLE ONLY {table} REPLICA IDENTITY"
            self._guards.alter(f"{identity} FULL", f"{identity} USING INDEX {quoted(index)}")
        for index, made, constraint, rule, clustered, name, comment in self._connection.execute(
            _ONE_NULL, oid
        ).fetchall():
            table = match.name.quoted
            again = [made]
            drop, about = f"DROP INDEX {index}", f"INDEX {index}"
            if constraint is not None:
                drop = f"ALTER TABLE {table} DROP CONSTRAINT {quoted(constraint)}"
                again = [f"ALTER TABLE {table} ADD CONSTRAINT {quoted(constraint)} {rule}"]
                about = f"CONSTRAINT {quoted(constraint)} ON {table}"
            if clustered:
                again.append(f"ALTER TABLE {table} CLUSTER ON {quoted(name)}")
            if comment is not None:
                again.append(f"COMMENT ON {about} IS {comment}")
            self._guards.alter(drop, "; ".join(again))

    def step_aside(self) -> None:
        """Everything that may be in the way of something else."""
        for number, key in enumerate(self._keys):
            match = key.table.match
            kept = ", ".join(f"t.{quoted(name)}" for name in (*match.key, *key.aside))
            # A row that nobody else is to put right.
            where = f"{key.where('true')} AND ({key.table.changes}) IS NOT TRUE"
            self._connection.execute(
                f"CREATE TEMPORARY TABLE {_PLACE}{number} AS SELECT {kept}"
                f" FROM {match.table} t WHERE {where}".encode()
            )
            self._aside(match, key.aside, key.where("true"))
        for oid, moving in self._tables.items():
            if moving.match.key and (columns := self._unique(oid)):
                self._aside(moving.match, columns, f"({moving.changes}) AND ({moving.moves})")

    def come_back(self) -> None:
        """What stepped aside and was not put right by a change of its row is as it was."""
        for number, key in enumerate(self._keys):
            match, place = key.table.match, f"pg_temp.{_PLACE}{number}"
            sets = ", ".join(f"{quoted(name)} = k.{quoted(name)}" for name in key.aside)
            self._connection.execute(
                f"UPDATE {match.table} t SET {sets} FROM {place} k"
                f" WHERE {match.same('t', 'k')}".encode()
            )
            self._connection.execute(f"DROP TABLE {place}".encode())

    def _aside(self, match: Match, columns: Sequence[str], where: str) -> None:
        sets = ", ".join(f"{quoted(column)} = NULL" for column in columns)
        self._connection.execute(f"UPDATE {match.table} t SET {sets} WHERE {where}".encode())

    def _unique(self, oid: int) -> list[str]:
        match = self._tables[oid].match
        found = {n for (n,) in self._connection.execute(_UNIQUE, (oid,))}
        followed = self._connection.execute(_FOLLOWED, {"oid": oid, "oids": self._oids})
        found -= {name for (name,) in followed}
        return [name for name in _movable(match) if name in found]

    def _found_keys(self) -> list[_Key]:
        keys = []
        for own, other, columns, referenced, operators, acts, full in self._connection.execute(
            _KEYS, {"oids": self._oids}
        ).fetchall():
            table, above = self._tables[own], self._tables[other]
            movable = set(_movable(table.match))
            aside = tuple(column for column in columns if column in movable)
            if not aside or not table.match.key or (full and len(aside) < len(columns)):
                continue  # part of what tells rows apart: such a row goes or stays as a whole
            same = " AND ".join(
                f"p.{quoted(there)} {operator} t.{quoted(here)}"
                for here, there, operator in zip(columns, referenced, operators, strict=True)
            )
            # What tells rows apart never changes: such a row stays, or goes as a whole.
            fixed = set(referenced) <= set(above.match.key)
            leaves = f"NOT ({above.stays})" if fixed else above.moves
            keys.append(_Key(table, above, aside, same, leaves, acts))
        return keys


def _movable(match: Match) -> list[str]:
    fixed = {*match.key, *match.masked}
    return [column.name for column in match.columns if column.name not in fixed]
