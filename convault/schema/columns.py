"""Columns, as they stand in CREATE TABLE, and what must be said about them later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from convault.errors import UnsupportedSource
from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

# Before 17 the statistics target "default" is -1, since then NULL. Not-null constraints are in
# pg_constraint since 18.
_COLUMNS = """
    SELECT a.attrelid::int8 AS relation, a.attnum AS number, a.attname AS plain_name,
        quote_ident(a.attname) AS name, format_type(a.atttypid, a.atttypmod) AS type,
        CASE WHEN a.attcollation <> t.typcollation
            THEN nullif(a.attcollation, 0)::regcollation::text END AS collation,
        a.attnotnull AS not_null, a.attislocal AS local, a.attinhcount > 0 AS inherited,
        a.attgenerated::text AS generated, d.oid::int8 AS default_oid,
        pg_get_expr(d.adbin, d.adrelid) AS expression,
        nullif(a.attstorage, t.typstorage)::text AS storage, a.attcompression::text AS compression,
        coalesce(a.attstattarget, -1) AS statistics, a.attoptions AS options,
        quote_ident(n.conname) AS not_null_name, n.conislocal AS not_null_local,
        n.connoinherit AS not_null_no_inherit, n.convalidated AS not_null_validated
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN pg_catalog.pg_constraint n ON n.conrelid = a.attrelid AND n.contype = 'n'
        AND n.conkey = ARRAY[a.attnum]
    WHERE a.attrelid = ANY (%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""

_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
_COMPRESSION = {"p": "pglz", "l": "lz4"}


def read_columns(catalogs: Catalogs, tables: Collection[int]) -> dict[int, list[Any]]:
    """The live columns of each table, in their order."""
    columns: dict[int, list[Any]] = defaultdict(list)
    for row in catalogs.rows(_COLUMNS, {"oids": list(tables)}):
        columns[row.relation].append(row)
    return columns


def default_key(column: Any) -> Key:
    """The column's default or generation expression in the graph."""
    return Key("pg_attrdef", column.default_oid or 0)


def definition(
    column: Any, *, typed: bool, apart: Collection[Key], undecided: bool = False
) -> str | None:
    """The column as CREATE TABLE takes it. None when a typed table (`OF type`) need not name it.

    `undecided`: without a default of its own it must say so, or its parents would disagree.
    """
    extras = []
    if column.expression is not None and default_key(column) not in apart:
        extras.append(_default(column))
    elif undecided and not column.generated:
        extras.append("DEFAULT NULL")
    if column.not_null and column.not_null_validated is not False:
        extras.append(_not_null(column))
    if typed:
        return " ".join([column.name, "WITH OPTIONS", *extras]) if extras else None
    collation = [f"COLLATE {column.collation}"] if column.collation else []
    return " ".join([column.name, column.type, *collation, *extras])


def own_not_null(column: Any) -> str | None:
    """The not-null constraint of an inherited column, where the table has declared it itself.

    Postgres tells this apart since 18; before, see `adjustments`.
    """
    if column.not_null_name and column.not_null_local and column.not_null_validated:
        return f"{_not_null(column).removesuffix(' NO INHERIT')} {column.name}" + (
            " NO INHERIT" if column.not_null_no_inherit else ""
        )
    return None


def _not_null(column: Any) -> str:
    # Always with its name: the one that Postgres would choose depends on what else is there.
    name = f"CONSTRAINT {column.not_null_name} " if column.not_null_name else ""
    return f"{name}NOT NULL{' NO INHERIT' if column.not_null_no_inherit else ''}"


def _default(column: Any) -> str:
    if column.generated == "s":
        return f"GENERATED ALWAYS AS ({column.expression}) STORED"
    if column.generated == "v":
        return f"GENERATED ALWAYS AS ({column.expression}) VIRTUAL"
    return f"DEFAULT {column.expression}"


def later_default(graph: Graph, table: str, column: Any) -> Statement:
    """SET DEFAULT for a default that is not part of CREATE TABLE. UnsupportedSource for a generated
    column: it must be, so what it needs must be part of the backup."""
    name = f"{table}.{column.name}"
    outside = graph.outside(default_key(column))
    if column.generated:
        raise UnsupportedSource(
            f"The generated column {name} needs "
            f"{', '.join(outside) or 'something made after its table'}, so a restore could not "
            "make it. Nothing was backed up.",
            column=name,
        )
    sql = f"ALTER TABLE ONLY {table} ALTER COLUMN {column.name} SET DEFAULT {column.expression}"
    return Statement("column default", name, sql, after_data=False, needs=outside)


def settings(table: str, columns: Collection[Any]) -> Statement | None:
    """Storage, compression and statistics, where they are not what the type brings."""
    changes = []
    for column in columns:
        alter = f"ALTER COLUMN {column.name} SET"
        if column.storage:
            changes.append(f"{alter} STORAGE {_STORAGE[column.storage]}")
        if column.compression:
            changes.append(f"{alter} COMPRESSION {_COMPRESSION[column.compression]}")
        if column.statistics >= 0:
            changes.append(f"{alter} STATISTICS {column.statistics}")
        if column.options:
            changes.append(f"{alter} ({options(column.options)})")
    if not changes:
        return None
    sql = f"ALTER TABLE ONLY {table} {', '.join(changes)}"
    return Statement("column setting", table, sql, after_data=False)


def options(given: Collection[str], prefix: str = "") -> str:
    """pg_class.reloptions and the like (`fillfactor=70`) as SQL takes them."""
    pairs = (option.partition("=") for option in given)
    return ", ".join(
        prefix + '"' + name.replace('"', '""') + "\" = '" + value.replace("'", "''") + "'"
        for name, _, value in pairs
    )
