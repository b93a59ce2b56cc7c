"""How the two sides of a key are compared, as SQL: as the foreign key itself compares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from convault.errors import SnapshotLost
from convault.formats.postgres_types import quoted
from convault.models import Dataset, ForeignKey, TableName
from convault.sources.equality import equality, read_types

_OPERATORS = """
    SELECT f.conrelid, f.conname, a.attname,
        'OPERATOR(' || pg_catalog.quote_ident(n.nspname) || '.' || o.oprname || ')',
        CASE WHEN o.oprleft <> b.atttypid AND l.typtype <> 'p' THEN
            pg_catalog.quote_ident(ln.nspname) || '.' || pg_catalog.quote_ident(l.typname) END,
        CASE WHEN o.oprright <> a.atttypid AND r.typtype <> 'p' THEN
            pg_catalog.quote_ident(rn.nspname) || '.' || pg_catalog.quote_ident(r.typname) END,
        CASE WHEN a.attcollation <> b.attcollation AND b.attcollation <> 0 THEN
            pg_catalog.quote_ident(cn.nspname) || '.' || pg_catalog.quote_ident(c.collname) END
    FROM pg_catalog.pg_constraint f
    CROSS JOIN LATERAL unnest(f.conkey, f.confkey, f.conpfeqop) k (own, referenced, operator)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.own
    JOIN pg_catalog.pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = k.referenced
    JOIN pg_catalog.pg_operator o ON o.oid = k.operator
    JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    JOIN pg_catalog.pg_type l ON l.oid = o.oprleft
    JOIN pg_catalog.pg_namespace ln ON ln.oid = l.typnamespace
    JOIN pg_catalog.pg_type r ON r.oid = o.oprright
    JOIN pg_catalog.pg_namespace rn ON rn.oid = r.typnamespace
    LEFT JOIN pg_catalog.pg_collation c ON c.oid = b.attcollation
    LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = c.collnamespace
    WHERE f.contype = 'f' AND f.conrelid = ANY (%s)
"""
"""The operator that the constraint itself uses (of the referenced and the own column), casts to
its types, and the referenced column's collation where the two differ: as ri_triggers.c asks."""

_COLUMNS = """
    SELECT attrelid, attname, atttypid, CASE WHEN c.oid IS NOT NULL THEN
        pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname) END
    FROM pg_catalog.pg_attribute
    LEFT JOIN pg_catalog.pg_collation c ON c.oid = attcollation
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
    WHERE attrelid = ANY (%s) AND attnum > 0 AND NOT attisdropped
"""

Conditions = Mapping[ForeignKey, str]
"""By key: SQL that is true where a row called `o`, of the key's table, refers to a row called `r`,
of the table that it references. NULL in any column refers to nothing (MATCH SIMPLE)."""
Oids = Mapping[TableName, int]
"""of both tables of every key"""


def read_conditions(connection: psycopg.Connection[Any], dataset: Dataset) -> Conditions:
    """Of all keys of the dataset that lead to one of its tables."""
    oids = {table.name: table.oid for table in dataset.tables}
    inside = [key for key in dataset.foreign_keys if key.references in oids]
    made = as_constrained(connection, [key for key in inside if not key.declared], oids)
    for key in inside:
        if not key.declared and key not in made:
            raise SnapshotLost(
                f"The foreign key {key.name} of {key.table} was changed. The backup must start "
                "again under a new snapshot."
            )
    return {**made, **by_types(connection, [key for key in inside if key.declared], oids)}


def as_constrained(
    connection: psycopg.Connection[Any], keys: Sequence[ForeignKey], oids: Oids
) -> Conditions:
    """Of those of the keys that are constraints of the database, as these compare."""
    operators: dict[tuple[int, str], dict[str, tuple[str | None, ...]]] = {}
    for table, name, own, *how in connection.execute(_OPERATORS, (list(oids.values()),)):
        operators.setdefault((table, name), {})[own] = tuple(how)
    made = {}
    for key in keys:
        by_column = operators.get((oids[key.table], key.name), {})
        if set(by_column) == set(key.columns):
            pairs = zip(key.columns, key.referenced_columns, strict=True)
            made[key] = " AND ".join(_equal(own, other, *by_column[own]) for own, other in pairs)
    return made


def by_types(
    connection: psycopg.Connection[Any], keys: Sequence[ForeignKey], oids: Oids
) -> Conditions:
    """Of keys that need be no constraints, as the types of their columns compare. Types that
    Postgres cannot compare must not be among them."""
    if not keys:
        return {}
    tables = [oids[table] for key in keys for table in (key.table, key.references)]
    columns = {
        (table, name): (type_, collation)
        for table, name, type_, collation in connection.execute(_COLUMNS, (tables,))
    }
    types = read_types(connection, [type_ for type_, _ in columns.values()])
    made = {}
    for key in keys:
        parts = []
        for own, other in zip(key.columns, key.referenced_columns, strict=True):
            left, left_collation = columns[oids[key.references], other]
            right, right_collation = columns[oids[key.table], own]
            operator = equality(connection, types[left], types[right])
            assert operator is not None  # `read_declared` refused the others
            collation = left_collation if left_collation != right_collation else None
            parts.append(
                _equal(own, other, operator, types[left].name, types[right].name, collation)
            )
        made[key] = " AND ".join(parts)
    return made


def _equal(
    own: str, referenced: str, operator: str | None, left: str | None, right: str | None,
    collation: str | None,
) -> str:  # fmt: skip
    a = f"r.{quoted(referenced)}" + (f"::{left}" if left else "")
    b = f"o.{quoted(own)}" + (f"::{right}" if right else "")
    # On the referenced side, whose index can then be used.
    return f"{a} {operator} {b}" + (f" COLLATE {collation}" if collation else "")
