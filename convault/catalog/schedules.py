"""Rows of `public.backup_schedules` in and out of SQL."""

from __future__ import annotations

from uuid import UUID

from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Placeholder
from psycopg.types.json import Jsonb

from convault.catalog.connection import Connection
from convault.schedule import BackupSchedule

_COLUMNS = tuple(BackupSchedule.model_fields)
_SELECT = SQL(", ").join(map(Identifier, _COLUMNS))
_KEPT = frozenset({"id", "created_at"})


def select(connection: Connection) -> list[BackupSchedule]:
    """All rows that a Prefect schedule goes with, by name."""
    query = SQL("SELECT {} FROM public.backup_schedules WHERE name IS NOT NULL ORDER BY name")
    with connection.cursor(row_factory=dict_row) as cursor:
        return [BackupSchedule.model_validate(row) for row in cursor.execute(query.format(_SELECT))]


def save(connection: Connection, schedule: BackupSchedule) -> None:
    """Insert the row, or set what it says where it is there; times of it are the database's."""
    values = schedule.model_dump(exclude={"created_at", "updated_at"})
    values["options"] = Jsonb(values["options"])
    changes = [
        SQL("{0} = excluded.{0}").format(Identifier(name)) for name in values if name not in _KEPT
    ]
    query = SQL(
        "INSERT INTO public.backup_schedules ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {},"
        " updated_at = clock_timestamp()"
    ).format(
        SQL(", ").join(map(Identifier, values)),
        SQL(", ").join(map(Placeholder, values)),
        SQL(", ").join(changes),
    )
    connection.execute(query, values)


def delete(connection: Connection, schedule_id: UUID) -> None:
    """Remove the row; nothing where there is none."""
    connection.execute("DELETE FROM public.backup_schedules WHERE id = %s", [schedule_id])
