"""A table of the backup and the live table of its name: which columns meet, and what tells rows
apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from convault.errors import RestoreError
from convault.formats.postgres_types import encoding_of, quoted, value_expression
from convault.manifest import TableEntry
from convault.models import Column, TableName

_COLUMNS = """
    SELECT a.attname, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
        a.attgenerated::pg_catalog.text, a.attidentity::pg_catalog.text
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = %s::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attnum
"""

# The primary key, or else a unique index over columns that are never NULL; with the operators by
# which the index compares, because types of extensions have their own in schemas of their own. A
# key WITHOUT OVERLAPS has a GiST index, which looks for overlaps: what is equal says the type.
_KEY = """
    SELECT i.indexrelid, array_agg(a.attname ORDER BY k.place),
        array_agg(pg_catalog.format('OPERATOR(%%I.%%s)', n.nspname, o.oprname) ORDER BY k.place)
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::pg_catalog.int2[], i.indclass::pg_catalog.oid[])
        WITH ORDINALITY AS k (attnum, opclass, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_catalog.pg_opclass u ON u.oid = k.opclass
    JOIN pg_catalog.pg_am b ON b.amname = 'btree'
    JOIN pg_catalog.pg_opclass c ON c.opcmethod = b.oid AND CASE
        WHEN u.opcmethod = b.oid THEN c.oid = u.oid
        ELSE c.opcintype = u.opcintype AND c.opcdefault END
    JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
        AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
    JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr
    JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    WHERE i.indrelid = %s::pg_catalog.oid AND i.indisunique AND i.indisvalid
        AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
    HAVING count(*) = i.indnkeyatts AND (i.indisprimary OR bool_and(a.attnotnull))
    ORDER BY i.indisprimary DESC, i.indexrelid
    LIMIT 1
"""

_FIELDS = re.compile(
    r"interval (year|month|day|hour|minute|second)( to (month|hour|minute|second))?"
)

_WIDER = {
    "smallint": {"integer", "bigint", "numeric"},
    "integer": {"bigint", "numeric"},
    "bigint": {"numeric"},
    "real": {"double precision"},
}
"""types that hold every value of another, exactly"""


@dataclass(frozen=True, slots=True)
class Match:
    """A live table, as far as the backup has something for it."""

    name: TableName
    oid: int
    partitioned: bool
    columns: tuple[Column, ...]
    """the live table's, that the backup has values for"""
    all_columns: tuple[Column, ...]
    key: tuple[str, ...]
    """what tells rows apart; () where nothing but the whole row does"""
    operators: tuple[str, ...]
    """by which each of `key` is compared"""
    masked: frozenset[str] = frozenset()
    """columns of which the backup has a mask alone: it is no reason to change what lives"""

    @property
    def table(self) -> str:
        """For FROM, UPDATE and DELETE: with its partitions, but without its heirs."""
        return self.name.quoted if self.partitioned else f"ONLY {self.name.quoted}"

    @property
    def names(self) -> str:
        """The columns, for a list in SQL."""
        return ", ".join(quoted(column.name) for column in self.columns)

    def alike(self, one: str, other: str) -> str:
        """SQL: the two rows have the same values in every column that the backup truly has."""
        return f"{self.text(one)} = {self.text(other)}"

    def text(self, row: str) -> str:
        """The row in one text, whatever its types, without what is masked."""
        compared = [column for column in self.columns if column.name not in self.masked]
        values = ", ".join(value_expression(column, row) for column in compared)
        return f"ROW({values})::pg_catalog.text"

    def same(self, one: str, other: str) -> str:
        """SQL: the two rows have the same key."""
        if not self.key:
            return (
                f"{one}.convault_text = {other}.convault_text AND"
                f" {one}.convault_copy = {other}.convault_copy"
            )
        return " AND ".join(
            f"{one}.{quoted(column)} {operator} {other}.{quoted(column)}"
            for column, operator in zip(self.key, self.operators, strict=True)
        )

    def source(self, place: str) -> str:
        """`place` (the live table, or one with its columns) for FROM, with what `same` needs. Equal
        rows without a key are told apart by counting them."""
        if self.key:
            return place
        text = self.text("convault_row")
        return (
            "(SELECT convault_row.*, convault_row.tableoid AS convault_table,"
            f" convault_row.ctid AS convault_ctid, {text} AS convault_text,"
            f" row_number() OVER (PARTITION BY {text}) AS convault_copy"
            f" FROM {place} convault_row)"
        )


def match(
    connection: psycopg.Connection[Any], name: TableName, tables: Sequence[TableEntry]
) -> Match:
    """The live table `name` for the rows of `tables`. RestoreError when it lacks a column, has one
    of another type, or asks for a value that the backup does not have."""
    whole = live_match(connection, name)
    assert whole is not None  # the caller has looked
    live = {column.name: column for column in whole.all_columns}
    with_default = {
        column
        for (column,) in connection.execute(
            "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = %s::pg_catalog.oid"
            " AND atthasdef",
            (whole.oid,),
        )
    }
    # By REST no lengths of numbers are told; a value that does not fit is refused when it comes.
    without_lengths = any(table.reading is not None for table in tables)
    faults = []
    offered = {column.name: column for table in tables for column in table.columns}
    columns = []
    for column in offered.values():
        found = live.get(column.name)
        if found is None:
            if not column.generated:
                faults.append(f"has no column {column.name}")
            continue
        if found.generated:
            if not column.generated:
                faults.append(f"computes {column.name} itself")
            continue
        if not (
            _takes(column.type, found.type)
            or (without_lengths and _takes(_bare(column.type), _bare(found.type)))
        ):
            faults.append(f"has {column.name} as {found.type}, the backup as {column.type}")
        columns.append(found)
    for column in live.values():
        given = column.name in offered or column.name in with_default
        if column.not_null and not (given or column.generated or column.identity):
            faults.append(f"has a column {column.name} that must be filled, without a default")
    if not set(whole.key) <= {column.name for column in columns}:
        key = ", ".join(whole.key)
        faults.append(f"tells rows apart by ({key}), of which the backup has not all")
    if faults:
        raise RestoreError(
            f"The live table {name} does not fit the backup: it {'; it '.join(faults[:5])}. "
            "Nothing was changed: change the table, or restore into another schema (--schema).",
            table=name,
        )
    ordered = tuple(sorted(columns, key=lambda column: column.number))
    masked = frozenset(column.name for column in offered.values() if column.mask)
    return replace(whole, columns=ordered, masked=masked)


def _bare(type_: str) -> str:
    """A type without its length, however the unbounded ones are called."""
    name = re.sub(r"\(\d+(,-?\d+)?\)", "", type_)
    name = _FIELDS.sub("interval", name)
    return name.replace("bpchar", "character").replace('"bit"', "bit")


def live_match(connection: psycopg.Connection[Any], name: TableName) -> Match | None:
    """A live table with every column that can be written; None when there is none of that name."""
    row = connection.execute(
        "SELECT c.oid::pg_catalog.int8, c.relkind = 'p' FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
        tuple(name),
    ).fetchone()
    if row is None:
        return None
    columns = tuple(
        Column(column, number, type_, encoding_of(type_), not_null, made, identity)
        for column, number, type_, not_null, made, identity in connection.execute(
            _COLUMNS, (row[0],)
        )
    )
    indexed = connection.execute(_KEY, (row[0],)).fetchone()
    key, operators = ((), ()) if indexed is None else (tuple(indexed[1]), tuple(indexed[2]))
    given = tuple(column for column in columns if not column.generated)
    return Match(name, row[0], row[1], given, columns, key, operators)


def _takes(stored: str, live: str) -> bool:
    """Whether a column of the type `live` takes every value of `stored` as it is."""
    if stored == live or live in _WIDER.get(stored, ()):
        return True
    texts = re.compile(r"text|character varying(\((\d+)\))?")
    one, other = texts.fullmatch(stored), texts.fullmatch(live)
    if one and other:
        return other[2] is None or (one[2] is not None and int(one[2]) <= int(other[2]))
    # numeric(10,2) into numeric, timestamp(3) with time zone into timestamp with time zone
    return re.sub(r"\([\d,]+\)", "", stored) == live and not live.startswith(("char", "bit"))
