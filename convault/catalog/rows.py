"""Rows of `public.backups` in and out of SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable, Identifier, Placeholder
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from convault.catalog.base import BackupRecord, BackupStatus, Page, Query
from convault.catalog.connection import Connection
from convault.errors import CatalogError, NotFoundError

_COLUMNS = tuple(BackupRecord.model_fields)
_TIMES = frozenset({"created_at", "updated_at"})
_SETTABLE = frozenset(_COLUMNS) - {"id"} - _TIMES
_SELECT = SQL(", ").join(map(Identifier, _COLUMNS))
_JSON = frozenset({"options", "metrics", "drill"})


def select(
    connection: Connection, rest: Composable, parameters: Mapping[str, Any]
) -> list[BackupRecord]:
    """The rows of `SELECT ... FROM public.backups` and `rest`."""
    query = SQL("SELECT {} FROM public.backups ").format(_SELECT) + rest
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_record(row) for row in cursor.execute(query, parameters)]


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
    """Rows, newest first, and how many there are behind all cursors; in one snapshot."""
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
        [SQL("true"), *(SQL(text) for name, text in conditions.items() if asked[name] is not None)]
    )
    # The order of the index: created_at descending, then id ascending.
    behind = SQL(
        " AND (created_at < %(at)s OR created_at = %(at)s AND id > %(id)s)" if query.after else ""
    )
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    total = connection.execute(
        SQL("SELECT count(*) FROM public.backups ") + where, asked
    ).fetchone()
    assert total is not None
    order = SQL(" ORDER BY created_at DESC, id LIMIT %(limit)s")
    found = select(connection, where + behind + order, asked)
    return Page(records=tuple(found[: query.limit]), total=total[0], more=len(found) > query.limit)


def insert(connection: Connection, record: BackupRecord, *, keep_times: bool) -> None:
    """Insert the row unless one with its id is there."""
    names = sorted(_SETTABLE | _TIMES if keep_times else _SETTABLE)
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
    unknown = sorted(set(columns) - _SETTABLE)
    if unknown:
        raise ValueError(f"not columns of backups that can be set: {', '.join(unknown)}")
    values = {name: _parameter(name, value) for name, value in columns.items()}
    assignments = [SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in values]
    query = SQL("UPDATE public.backups SET {} WHERE id = %(id)s AND {} RETURNING {}").format(
        SQL(", ").join([*assignments, SQL("updated_at = clock_timestamp()")]), condition, _SELECT
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query, {**values, **parameters, "id": backup_id}).fetchone()
    return None if row is None else _record(row)


def _record(row: dict[str, Any]) -> BackupRecord:
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
        # Postgres' text holds neither NUL nor half of a surrogate pair; an error's text may.
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    return value
