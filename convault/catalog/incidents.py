"""Rows of `public.backup_incidents`. What changes them are functions of the database, which both
kinds of catalog call (supabase/migrations/*_incidents.sql)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Placeholder

from convault.catalog.connection import Connection
from convault.catalog.rows import storable
from convault.incidents import Incident, Notice

COLUMNS = tuple(Incident.model_fields)
_SELECT = SQL(", ").join(map(Identifier, COLUMNS))


def select(connection: Connection, limit: int) -> list[Incident]:
    """Open ones first, then the newest."""
    query = SQL(
        "SELECT {} FROM public.backup_incidents"
        " ORDER BY recovered_at DESC NULLS FIRST, opened_at DESC, id LIMIT %s"
    ).format(_SELECT)
    with connection.cursor(row_factory=dict_row) as cursor:
        return [Incident.model_validate(row) for row in cursor.execute(query, [limit])]


def call(connection: Connection, function: str, parameters: Mapping[str, Any]) -> bool:
    """What one of the functions gives."""
    query = SQL("SELECT public.{}({})").format(
        Identifier(function),
        SQL(", ").join(
            SQL("{} => {}").format(Identifier(name), Placeholder(name)) for name in parameters
        ),
    )
    row = connection.execute(query, dict(parameters)).fetchone()
    return row is not None and row[0] is True


def opening(notice: Notice, seen_at: datetime) -> dict[str, Any]:
    """What `convault_open_incident` is given."""
    return {
        "kind": str(notice.kind),
        "subject": storable(notice.subject),
        "title": storable(notice.title),
        "detail": storable(notice.detail),
        "facts": json.dumps(notice.facts),
        "seen_at": seen_at,
    }


def telling(
    incident_id: UUID, recovery: bool, told_to: tuple[str, ...], done: bool, problem: str,
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """What `convault_told_incident` is given."""
    return {
        "incident": incident_id,
        "recovery": recovery,
        "told_to": json.dumps(told_to),
        "done": done,
        "problem": storable(problem),
        "seconds": seconds,
    }
