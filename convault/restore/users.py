"""Foreign keys into schemas that Supabase manages: whom they name must be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from convault.dataset.tables import is_managed
from convault.errors import RestoreError
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest, TableEntry
from convault.models import ForeignKey
from convault.restore.guards import Guards, unguarded
from convault.restore.options import MissingUsers

if TYPE_CHECKING:
    from convault.restore.created import CreatedTables
    from convault.restore.live import LiveTables


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key, and where the rows that it must hold for are."""

    key: ForeignKey
    place: str
    """what holds the restored rows, for FROM, UPDATE and DELETE"""
    nullable: bool
    """all of its columns may be NULL"""

    def __str__(self) -> str:
        return f"{self.key.name} on {self.key.table}"


@dataclass(frozen=True, slots=True)
class References:
    """Every foreign key whose rows are being restored."""

    outside: tuple[Reference, ...]
    """into managed schemas, where the target has them"""
    inside: tuple[tuple[Reference, str], ...]
    """among the tables of the backup, with the place of the referenced table"""


def of_created(
    connection: psycopg.Connection[Any], manifest: Manifest, tables: CreatedTables
) -> References:
    """Of tables that the restore made."""
    entries = {table.name: table for table in manifest.tables}
    outside, inside = [], []
    for key in manifest.foreign_keys:
        table = entries.get(key.table)
        if table is None:
            continue
        reference = Reference(key, tables.place(table), _nullable(table, key))
        if key.references in entries:
            inside.append((reference, tables.place(entries[key.references])))
        elif is_managed(key.references.schema) and _readable(connection, key):
            outside.append(reference)
    return References(tuple(outside), tuple(inside))


def of_live(connection: psycopg.Connection[Any], tables: LiveTables) -> References:
    """Of live tables: the keys that these have, over the rows that wait for them."""
    outside = [
        reference
        for reference in tables.references()
        if is_managed(reference.key.references.schema) and _readable(connection, reference.key)
    ]
    return References(tuple(outside), tables.inside())


def settle(
    connection: psycopg.Connection[Any], references: References, how: MissingUsers | None
) -> dict[str, int]:
    """Count the rows that name somebody who is not there, and do with them as `how` says; None
    leaves them as they are, for the constraint to say what it thinks of them. RestoreError for
    `stop`, and where it cannot be done. Returns the counts, per key."""
    missing = {r: n for r in references.outside if (n := _count(connection, r))}
    if not missing:
        return {}
    counts = {str(reference): rows for reference, rows in missing.items()}
    if how is MissingUsers.STOP:
        listed = "; ".join(
            f"{rows} rows by {r} (to {r.key.references})" for r, rows in missing.items()
        )
        raise RestoreError(
            f"Rows of the backup reference rows that the target does not have: {listed}. Nothing "
            "was changed. Restore those first, or say what becomes of the rows: --missing-users "
            "null (the reference becomes NULL), skip (they are left out, and what references "
            "them) or stub (a row with nothing but its key is made there)."
        )
    for reference in missing:
        if how is MissingUsers.NULL:
            _set_null(connection, reference)
        elif how is MissingUsers.STUB:
            _make_stubs(connection, reference)
        elif how is MissingUsers.SKIP:
            where = _missing("r", reference.key)
            connection.execute(f"DELETE FROM {reference.place} r WHERE {where}".encode())
    if how is MissingUsers.SKIP:
        _drop_dependents(connection, references.inside)
    return counts


def _set_null(connection: psycopg.Connection[Any], reference: Reference) -> None:
    if not reference.nullable:
        raise RestoreError(
            f"{reference} may not be NULL, so --missing-users null cannot be done. Nothing was "
            "changed: use skip or stub."
        )
    sets = ", ".join(f"{quoted(column)} = NULL" for column in reference.key.columns)
    where = _missing("r", reference.key)
    connection.execute(f"UPDATE {reference.place} r SET {sets} WHERE {where}".encode())


def _make_stubs(connection: psycopg.Connection[Any], reference: Reference) -> None:
    key = reference.key
    if unguarded(connection, [key.references]):
        raise RestoreError(
            f"{key.references} has triggers or rules of its own, which would run for each row that "
            "--missing-users stub makes there, and this role may not switch them off. Nothing was "
            "changed: use null or skip, or create the users through Supabase's Auth first."
        )
    columns = ", ".join(map(quoted, key.referenced_columns))
    values = ", ".join(f"r.{quoted(column)}" for column in key.columns)
    guards = Guards(connection, [key.references])
    guards.open_eyes()
    guards.raise_()
    connection.execute(
        f"INSERT INTO {key.references.quoted} ({columns})"
        f" SELECT DISTINCT {values} FROM {reference.place} r WHERE {_missing('r', key)}".encode()
    )
    guards.lower()


def _drop_dependents(
    connection: psycopg.Connection[Any], inside: Sequence[tuple[Reference, str]]
) -> None:
    """Rows that reference rows which were left out go as well, until none does."""
    gone = 1
    while gone:
        gone = 0
        for reference, above in inside:
            where = _missing("r", reference.key, above)
            deleted = connection.execute(f"DELETE FROM {reference.place} r WHERE {where}".encode())
            gone += deleted.rowcount


def _count(connection: psycopg.Connection[Any], reference: Reference) -> int:
    query = f"SELECT count(*) FROM {reference.place} r WHERE {_missing('r', reference.key)}"
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _missing(row: str, key: ForeignKey, above: str | None = None) -> str:
    """SQL: the row references something, and it is not there."""
    filled = " AND ".join(f"{row}.{quoted(column)} IS NOT NULL" for column in key.columns)
    same = " AND ".join(
        f"u.{quoted(referenced)} = {row}.{quoted(column)}"
        for column, referenced in zip(key.columns, key.referenced_columns, strict=True)
    )
    place = above or key.references.quoted
    return f"{filled} AND NOT EXISTS (SELECT FROM {place} u WHERE {same})"


def _nullable(table: TableEntry, key: ForeignKey) -> bool:
    required = {column.name for column in table.columns if column.not_null}
    return not required & set(key.columns) and not set(key.columns) & set(table.primary_key)


def _readable(connection: psycopg.Connection[Any], key: ForeignKey) -> bool:
    """Whether the target has the columns that are referenced, and the role may look at them, with
    no row hidden; if not, the constraint itself decides."""
    row = connection.execute(
        "SELECT count(*) = cardinality(%(columns)s) AND"
        " bool_and(has_column_privilege(c.oid, a.attnum, 'SELECT')"
        " AND has_schema_privilege(n.oid, 'USAGE')"
        " AND NOT pg_catalog.row_security_active(c.oid))"
        " FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = ANY (%(columns)s)"
        " WHERE n.nspname = %(schema)s AND c.relname = %(name)s AND c.relkind IN ('r', 'p')",
        {
            "schema": key.references.schema,
            "name": key.references.name,
            "columns": list(dict.fromkeys(key.referenced_columns)),
        },
    ).fetchone()
    return bool(row and row[0])
