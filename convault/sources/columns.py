"""What the catalogs tell of columns that are left out or masked, and what follows for a restore."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from convault.dataset.narrowing import Changes, ColumnFacts, ColumnId, narrowed, resolve
from convault.dataset.scope import Scope
from convault.models import Dataset, Statement

# Postgres says which columns a partition key uses by making each hang on the whole table (it may
# not be dropped without it), those within expressions too.
_FACTS = """
    SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), t.typtype = 'd',
        a.attidentity <> '' OR d.oid IS NOT NULL OR t.typdefault IS NOT NULL,
        coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), t.typdefault, '('),
        EXISTS (
            SELECT FROM pg_catalog.pg_depend p
            WHERE p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.objid = a.attrelid
              AND p.objsubid = a.attnum AND p.refclassid = p.classid
              AND p.refobjid = a.attrelid AND p.refobjsubid = 0 AND p.deptype = 'i'),
        EXISTS (
            SELECT FROM pg_catalog.pg_constraint f
            WHERE f.conrelid = a.attrelid AND f.contype = 'f' AND f.confmatchtype = 'f'
              AND a.attnum = ANY (f.conkey) AND pg_catalog.cardinality(f.conkey) > 1)
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped
"""

# Since 15 the default (pg_attrdef) depends on the columns that it is computed from, before it was
# the generated column itself.
_COMPUTED = """
    SELECT DISTINCT s.attrelid, s.attname, g.attname
    FROM pg_catalog.pg_depend d
    LEFT JOIN pg_catalog.pg_attrdef e
        ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND e.oid = d.objid
    JOIN pg_catalog.pg_attribute s ON s.attrelid = d.refobjid AND s.attnum = d.refobjsubid
    JOIN pg_catalog.pg_attribute g ON g.attrelid = s.attrelid
        AND g.attnum = coalesce(e.adnum, d.objsubid) AND g.attnum <> s.attnum
    WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = ANY (%s)
      AND d.refobjsubid > 0 AND g.attgenerated <> ''
      AND (e.adrelid = d.refobjid
           OR d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = d.refobjid)
    ORDER BY 1, 2, 3
"""

_UNIQUE = """
    SELECT i.indrelid, a.attname, c.relname, {one_null}
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (number, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE (i.indisunique OR i.indisexclusion) AND i.indrelid = ANY (%s) AND k.place <= i.indnkeyatts
    ORDER BY c.relname
"""

"""Exclusion constraints are as strict as unique ones, or stricter."""

_CHECKS = """
    SELECT c.conrelid, a.attname, i.identity
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
    CROSS JOIN LATERAL pg_catalog.pg_identify_object(
        'pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid, 0) i
    WHERE c.conrelid = ANY (%s) AND c.contype = 'c' AND c.convalidated
    ORDER BY i.identity
"""

_EXPRESSIONS = """
    SELECT i.indrelid, a.attname, i.indexrelid::pg_catalog.regclass::pg_catalog.text
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL (
        SELECT concat(pg_catalog.pg_get_expr(i.indexprs, i.indrelid), ' ',
                      pg_catalog.pg_get_expr(i.indpred, i.indrelid)) AS text
    ) e
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0
        AND NOT a.attisdropped
        AND pg_catalog.strpos(e.text, pg_catalog.quote_ident(a.attname)) > 0
    WHERE i.indrelid = ANY (%s)
    ORDER BY 3
"""
"""By the text, so that one too many may be named."""


@dataclass(frozen=True, slots=True)
class Consequences:
    """What of the schema will not fit the rows that are restored."""

    checks: frozenset[str]
    """of tables, as `Statement.name` calls them"""
    warnings: tuple[str, ...]
    """sentences; names, never values"""


def with_columns_changed(
    connection: psycopg.Connection[Any], dataset: Dataset, scope: Scope
) -> Dataset:
    """The dataset without the columns that are to be left out, and with the masked ones marked;
    OptionsError for what cannot be."""
    if not scope.exclude_columns and not scope.mask_columns:
        return dataset
    changes = resolve(dataset, scope.exclude_columns, scope.mask_columns)
    return narrowed(dataset, changes, _read_facts(connection, dataset, changes))


def read_consequences(connection: psycopg.Connection[Any], dataset: Dataset) -> Consequences:
    """Checks, indexes and generated columns of restored tables that use what was left out or
    masked."""
    changed = {ColumnId(a.table, a.column) for a in dataset.absent if a.column is not None}
    generated_ = _generated(connection, dataset) if changed else set()
    changed -= generated_
    changed |= {ColumnId(t.name, c.name) for t in dataset.restored for c in t.columns if c.mask}
    tables = {t.oid: t.name for t in dataset.restored}
    oids = [oid for oid, name in tables.items() if any(c.table == name for c in changed)]
    if not oids:
        return Consequences(frozenset(), ())

    def of_changed(query: str) -> Iterable[tuple[ColumnId, str]]:
        for oid, column, name in connection.execute(query.encode(), (oids,)).fetchall():
            this = ColumnId(tables[oid], column)
            if this in changed:
                yield this, name

    checks, warnings = set(), []
    for column, name in of_changed(_CHECKS):
        if name not in checks:
            warnings.append(
                f"The check {name} uses {column}, whose values the backup does not hold: a restore "
                "adds it NOT VALID, for new rows only."
            )
        checks.add(name)
    warnings += [
        f"The index {name} uses {column} in an expression or condition. A restore makes it over "
        "what it has instead of the values; where that is refused, use --tolerate-constraints."
        for column, name in of_changed(_EXPRESSIONS)
    ]
    warnings += [
        f"The generated column {column.table}.{name} is computed from {column}: a restore computes "
        "it from what it has instead of the values, and ends with an error where that cannot be."
        for column, name in of_changed(_COMPUTED)
    ]
    warnings += _of_defaults(connection, dataset, changed, oids)
    return Consequences(frozenset(checks), tuple(warnings))


def fitting(statements: Sequence[Statement], consequences: Consequences) -> tuple[Statement, ...]:
    """The statements, with checks that masked rows may break asked of new rows only."""

    def changed(statement: Statement) -> bool:
        return statement.kind == "constraint" and statement.name in consequences.checks

    return tuple(
        replace(statement, sql=f"{statement.sql} NOT VALID") if changed(statement) else statement
        for statement in statements
        if not (changed(statement) and " VALIDATE CONSTRAINT " in statement.sql)
    )


def _generated(connection: psycopg.Connection[Any], dataset: Dataset) -> set[ColumnId]:
    tables = {t.oid: t.name for t in dataset.restored}
    rows = connection.execute(
        "SELECT attrelid, attname FROM pg_catalog.pg_attribute"
        " WHERE attrelid = ANY (%s) AND attgenerated <> '' AND NOT attisdropped",
        (list(tables),),
    )
    return {ColumnId(tables[oid], name) for oid, name in rows}


def _of_defaults(
    connection: psycopg.Connection[Any], dataset: Dataset, changed: set[ColumnId], oids: list[int]
) -> list[str]:
    """Excluded columns under a unique index, whose default may be the same for every row."""
    absent = {ColumnId(a.table, a.column) for a in dataset.absent if a.column is not None}
    facts = _facts(connection, dataset, oids, frozenset(changed & absent))
    return [
        f"{column} gets its default in a restore, and the unique index {fact.unique[0]} refuses "
        "the rows unless that is another one for each. Mask the column instead, or restore with "
        "--tolerate-constraints."
        for column, fact in sorted(facts.items())
        if fact.unique and fact.has_default
    ]


def _read_facts(
    connection: psycopg.Connection[Any], dataset: Dataset, changes: Changes
) -> dict[ColumnId, ColumnFacts]:
    oids = [t.oid for t in dataset.tables if any(c.table == t.name for c in changes.all)]
    return _facts(connection, dataset, oids, changes.all)


def _facts(
    connection: psycopg.Connection[Any],
    dataset: Dataset,
    oids: list[int],
    wanted: frozenset[ColumnId],
) -> dict[ColumnId, ColumnFacts]:
    tables = {table.oid: table.name for table in dataset.tables}
    computed: dict[ColumnId, list[str]] = defaultdict(list)
    for oid, name, generated in connection.execute(_COMPUTED, (oids,)):
        computed[ColumnId(tables[oid], name)].append(generated)
    unique: dict[ColumnId, list[str]] = defaultdict(list)
    one_null: dict[ColumnId, list[str]] = defaultdict(list)
    since_15 = connection.info.server_version >= 150000
    query = _UNIQUE.format(one_null="i.indnullsnotdistinct" if since_15 else "false")
    for oid, name, index, nulls_equal in connection.execute(query.encode(), (oids,)):
        unique[ColumnId(tables[oid], name)].append(index)
        if nulls_equal:
            one_null[ColumnId(tables[oid], name)].append(index)
    rows = connection.execute(_FACTS, (oids,)).fetchall()
    return {
        this: ColumnFacts(
            has_default=has_default,
            constant_default=has_default and "(" not in default,
            takes_null=not domain or _takes_null(connection, type_),
            partition_key=partition_key,
            computed=tuple(computed[this]),
            unique=tuple(unique[this]),
            one_null=tuple(one_null[this]),
            full_match=full_match,
        )
        for oid, name, type_, domain, has_default, default, partition_key, full_match in rows
        if (this := ColumnId(tables[oid], name)) in wanted
    }


def _takes_null(connection: psycopg.Connection[Any], domain: str) -> bool:
    """Asked of the domain itself, which may be made over others and have checks; `domain` is as
    format_type spells it."""
    try:
        with connection.transaction():
            connection.execute(f"SELECT NULL::{domain}".encode())
    except (psycopg.errors.IntegrityError, psycopg.errors.RaiseException):
        return False
    return True
