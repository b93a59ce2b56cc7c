"""Rows of `public.backup_copies` in and out of SQL."""

from __future__ import annotations

from uuid import UUID

from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Placeholder
from psycopg.types.json import Jsonb

from convault.catalog.base import CopyRecord
from convault.catalog.connection import Connection

COLUMNS = tuple(CopyRecord.model_fields)


def select(connection: Connection, repository_id: UUID) -> list[CopyRecord]:
    """Those of a repository, by name."""
    query = SQL("SELECT {} FROM public.backup_copies WHERE repository_id = %s ORDER BY name")
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            query.format(SQL(", ").join(map(Identifier, COLUMNS))), [repository_id]
        )
        return [CopyRecord.model_validate(row) for row in found]


def save(connection: Connection, copy: CopyRecord) -> None:
    """Insert the row, or set what it says where it is there."""
    values = copy.model_dump()
    values["contents"] = Jsonb(copy.model_dump(mode="json")["contents"])
    query = SQL(
        "INSERT INTO public.backup_copies ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}"
    ).format(
        SQL(", ").join(map(Identifier, values)),
        SQL(", ").join(map(Placeholder, values)),
        SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(name)) for name in values),
    )
    connection.execute(query, values)
