"""Read from the catalogs which tables there are, what ties them together, and their columns.

Every query reads the catalogs' rows in the transaction's snapshot. Functions such as format_type()
look at the present state instead; the locks on the tables keep that from being another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import psycopg

from convault.dataset import exclusion
from convault.dataset.closure import closure_of
from convault.dataset.scope import Scope
from convault.dataset.tables import Relation
from convault.errors import OptionsError, UnsupportedSource
from convault.formats.postgres_types import encoding_of
from convault.models import Column, Dataset, ForeignKey, Table, TableName
from convault.sources.columns import with_columns_changed
from convault.sources.declared import read_declared
from convault.sources.users import USERS, require_users_readable, with_users

_RELATIONS = """
    SELECT n.nspname, c.relname, c.oid, c.relkind, c.relispartition, coalesce(a.amname, ''),
           EXISTS (
               SELECT FROM pg_catalog.pg_depend d
               WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                 AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
                 AND d.deptype = 'e')
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
    WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    ORDER BY n.nspname, c.relname
"""
"""Temporary tables are a session's own affair, even those that inherit from a table of ours."""

_PARENTS = """
    SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits
    WHERE NOT inhdetachpending
    ORDER BY inhrelid, inhseqno
"""

_FOREIGN_KEYS = """
    SELECT f.conname, f.conrelid, f.confrelid,
           (SELECT array_agg(a.attname ORDER BY k.place)
            FROM unnest(f.conkey) WITH ORDINALITY k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.number),
           (SELECT array_agg(a.attname ORDER BY k.place)
            FROM unnest(f.confkey) WITH ORDINALITY k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.number)
    FROM pg_catalog.pg_constraint f
    WHERE f.contype = 'f' AND f.conparentid = 0
    ORDER BY f.conrelid, f.conname
"""
"""A key with a conparentid is a partition's copy of its parent's."""

_COLUMNS = """
    SELECT a.attrelid, a.attname, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod),
           a.attnotnull, a.attgenerated, a.attidentity
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""

_PRIMARY_KEYS = """
    SELECT i.indrelid, array_agg(a.attname ORDER BY k.place)
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k (number, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE i.indisprimary AND i.indrelid = ANY (%s) AND k.place <= i.indnkeyatts
    GROUP BY i.indrelid
"""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of pg_class."""

    name: TableName
    oid: int
    kind: str
    is_partition: bool
    access_method: str
    of_extension: bool


def read_dataset(connection: psycopg.Connection[Any], scope: Scope) -> Dataset:
    """The dataset as the connection's transaction sees it, without what `scope` leaves out.

    Raises MissingTable; UnsupportedSource for foreign tables and tables that have no heap;
    OptionsError for names and patterns of `scope` that lead nowhere, or to what cannot be left out;
    MissingPrivilege for users that may not be read; ConfigurationError for relations of
    CONVAULT_RELATIONS that cannot be.
    """
    rows = [
        _Row(TableName(schema, name), *facts)
        for schema, name, *facts in connection.execute(_RELATIONS)
    ]
    names = {row.oid: row.name for row in rows}
    above: dict[int, tuple[TableName, ...]] = {}
    for child, parent in connection.execute(_PARENTS):
        if parent in names:
            above[child] = (*above.get(child, ()), names[parent])
    keys = [
        ForeignKey(name, names[table], tuple(columns), names[target], tuple(target_columns))
        for name, table, target, columns, target_columns in connection.execute(_FOREIGN_KEYS)
        if table in names and target in names
    ]
    oids_of = {row.name: row.oid for row in rows}
    keys += read_declared(connection, scope.relations, oids_of, known=keys)
    relations = [
        Relation(row.name, above.get(row.oid, ()), row.is_partition, row.of_extension)
        for row in rows
    ]
    closure, absent = closure_of(scope, relations, keys)
    wanted = {row.name: row for row in rows}
    chosen = [wanted[name] for name in closure]
    _refuse_what_has_no_pages(chosen)
    dataset = Dataset(
        root=None if scope.tables else scope.root,
        tables=_tables(connection, chosen, above),
        foreign_keys=tuple(key for key in keys if key.table in set(closure)),
        absent=absent,
    )
    if scope.include_users:
        dataset = with_users(dataset, _users(connection, scope, wanted))
    return with_columns_changed(connection, dataset, scope)


def _tables(
    connection: psycopg.Connection[Any], rows: list[_Row], above: dict[int, tuple[TableName, ...]]
) -> tuple[Table, ...]:
    oids = [row.oid for row in rows]
    columns = _columns(connection, oids)
    primary = dict(connection.execute(_PRIMARY_KEYS, (oids,)).fetchall())
    return tuple(
        Table(
            name=row.name,
            oid=row.oid,
            kind=cast(Literal["r", "p"], row.kind),
            columns=tuple(columns.get(row.oid, ())),
            primary_key=tuple(primary.get(row.oid, ())),
            parents=above.get(row.oid, ()),
        )
        for row in rows
    )


def _users(
    connection: psycopg.Connection[Any], scope: Scope, rows: dict[TableName, _Row]
) -> Table | None:
    """The table of users, as it is; None when there is none."""
    if any(exclusion.matching(pattern, [USERS]) for pattern in scope.exclude_tables):
        raise OptionsError(
            f"includeUsers asks for rows of {USERS}, which excludeTables leaves out: choose one."
        )
    if USERS not in rows:
        return None
    (users,) = _tables(connection, [rows[USERS]], {})
    require_users_readable(connection, users)
    return users


def _columns(connection: psycopg.Connection[Any], oids: list[int]) -> dict[int, list[Column]]:
    found: dict[int, list[Column]] = {}
    for table, name, number, type_, not_null, generated, identity in connection.execute(
        _COLUMNS, (oids,)
    ):
        column = Column(name, number, type_, encoding_of(type_), not_null, generated, identity)
        found.setdefault(table, []).append(column)
    return found


def _refuse_what_has_no_pages(rows: list[_Row]) -> None:
    """Rows are read by the heap page they lie on, and counted again by it in the next backup."""
    foreign = [str(row.name) for row in rows if row.kind == "f"]
    if foreign:
        raise UnsupportedSource(
            f"The rows of {', '.join(foreign)} lie on another server (foreign tables), outside "
            "the snapshot. Detach them from the dataset, and back them up where they lie.",
            table=foreign[0],
        )
    other = [
        f"{row.name} ({row.access_method})"
        for row in rows
        if row.kind == "r" and row.access_method != "heap"
    ]
    if other:
        raise UnsupportedSource(
            f"These tables are not kept in Postgres' own heap: {', '.join(other)}. Convault reads "
            "tables by their heap pages. Use ALTER TABLE ... SET ACCESS METHOD heap.",
        )
