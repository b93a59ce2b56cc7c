"""Rows of `public.backups` in and out of SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Identifier, Placeholder
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from convault.catalog.base import BackupRecord, BackupStatus, Page, Query
from convault.catalog.connection import Connection
from convault.errors import CatalogError, NotFoundError

COLUMNS = tuple(BackupRecord.model_fields)
TIMES = frozenset({"created_at", "updated_at"})
SETTABLE = frozenset(COLUMNS) - {"id"} - TIMES
_SELECT = SQL(", ").join(map(Identifier, COLUMNS))
_JSON = frozenset({"options", "metrics", "drill"})


def select(
    connection: Connection, rest: Composable, parameters: Mapping[str, Any]
) -> list[BackupRecord]:
    """The rows of `SELECT ... FROM public.backups` and `rest`."""
    query = SQL("SELECT {} FROM public.backups ").format(_SELECT) + rest
    with connection.cursor(row_factory=dict_row) as cursor:
        return [record_of(row) for row in cursor.execute(query, parameters)]


def select_one(connection: Connection, backup_id: UUID) -> BackupRecord:
    """The row. NotFoundError."""
    found = select(connection, SQL("WHERE id = %(id)s"), {"id": backup_id})
    if not found:
        raise NotFoundError(
            f"There is no backup {backup_id}: `convault list` shows those there are.",
            backup=backup_id,
        )
    return found[0]


def page(connection: Connection, query: Query) -> Page:
    """Rows, newest first, and how many there are behind all cursors; in one snapshot, because it is
    one statement."""
    asked = {
        "status": query.status.value if query.status else None,
        "format": query.format,
        "by": query.requested_by,
        "from": query.created_from,
        "to": query.created_to,
        "at": query.after[0] if query.after else None,
        "id": query.after[1] if query.after else None,
        "limit": query.limit + 1,
    }
    conditions = {
        "status": "status = %(status)s",
        "format": "coalesce(options->>'format', 'json') = %(format)s",
        "by": "requested_by = %(by)s",
        "from": "created_at >= %(from)s",
        "to": "created_at < %(to)s",
    }
    where = SQL("WHERE ") + SQL(" AND ").join(
        [
            SQL("true" if query.status else "status::text <> 'deleted'"),
            *(SQL(text) for name, text in conditions.items() if asked[name] is not None),
        ]
    )
    # The order of the index: created_at descending, then id ascending.
    behind = SQL(
        " AND (created_at < %(at)s OR created_at = %(at)s AND id > %(id)s)" if query.after else ""
    )
    statement = SQL(
        "SELECT counted.total, found.* FROM (SELECT count(*) total FROM public.backups {where})"
        " counted LEFT JOIN (SELECT {columns} FROM public.backups {where} {behind} {order}"
        " LIMIT %(limit)s) found ON true {order}"
    ).format(where=where, columns=_SELECT, behind=behind, order=SQL("ORDER BY created_at DESC, id"))
    with connection.cursor(row_factory=dict_row) as cursor:
        told = cursor.execute(statement, asked).fetchall()
    found = [record_of(row) for row in told if row["id"] is not None]
    return Page(
        records=tuple(found[: query.limit]),
        total=told[0]["total"],
        more=len(found) > query.limit,
    )


def insert(connection: Connection, record: BackupRecord, *, keep_times: bool) -> None:
    """Insert the row unless one with its id is there."""
    names = sorted(SETTABLE | TIMES if keep_times else SETTABLE)
    values = {name: _parameter(name, getattr(record, name)) for name in ["id", *names]}
    query = SQL("INSERT INTO public.backups ({}) VALUES ({}) ON CONFLICT (id) DO NOTHING").format(
        SQL(", ").join(map(Identifier, values)), SQL(", ").join(map(Placeholder, values))
    )
    connection.execute(query, values)


def change(
    connection: Connection,
    backup_id: UUID,
    columns: Mapping[str, Any],
    condition: Composable,
    parameters: Mapping[str, Any],
) -> BackupRecord | None:
    """Set the columns where the condition holds; None where it does not, or there is no row.
    ValueError for a name that is not a column, or not the caller's to set."""
    check_settable(columns)
    values = {name: _parameter(name, value) for name, value in columns.items()}
    assignments = [SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in values]
    query = SQL("UPDATE public.backups SET {} WHERE id = %(id)s AND {} RETURNING {}").format(
        SQL(", ").join([*assignments, SQL("updated_at = clock_timestamp()")]), condition, _SELECT
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query, {**values, **parameters, "id": backup_id}).fetchone()
    return None if row is None else record_of(row)


def check_settable(columns: Iterable[str]) -> None:
    """ValueError for a name that is not a column, or not the caller's to set."""
    unknown = sorted(set(columns) - SETTABLE)
    if unknown:
        raise ValueError(f"not columns of backups that can be set: {', '.join(unknown)}")


def record_of(row: Mapping[str, Any]) -> BackupRecord:
    """The row as a record. CatalogError names the columns that cannot be understood."""
    try:
        return BackupRecord.model_validate(row)
    except ValidationError as error:
        fields = ", ".join(sorted({str(e["loc"][0]) for e in error.errors(include_input=False)}))
        raise CatalogError(
            f"Row {row['id']} of public.backups cannot be understood ({fields}).", backup=row["id"]
        ) from None


def _parameter(name: str, value: Any) -> Any:
    if name in _JSON and value is not None:
        return Jsonb(value)
    if isinstance(value, BackupStatus):
        return value.value
    if isinstance(value, str):
        return storable(value)
    return value


def storable(text: str) -> str:
    """Without what Postgres' text cannot hold, but an error's may: NUL, half a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
