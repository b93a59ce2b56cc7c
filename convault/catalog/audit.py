"""Who did what: rows of `public.backup_audit`, which are only ever added."""

from __future__ import annotations

from psycopg.rows import dict_row

from convault.catalog.base import AuditEntry
from convault.catalog.connection import Connection


def write(connection: Connection, entry: AuditEntry) -> None:
    """Add it; its time is the database's."""
    texts = (entry.actor, entry.origin, entry.action, entry.result, entry.detail)
    actor, origin, action, result, detail = (
        text.replace("\0", "").encode("utf-8", "replace").decode() for text in texts
    )
    connection.execute(
        "INSERT INTO public.backup_audit (actor, origin, action, backup_id, result, detail)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        [actor, origin, action, entry.backup_id, result, detail],
    )


def select(connection: Connection, limit: int) -> list[AuditEntry]:
    """Newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "SELECT at, actor, origin, action, backup_id, result, detail FROM public.backup_audit"
            " ORDER BY at DESC, id DESC LIMIT %s",
            [limit],
        )
        return [AuditEntry.model_validate(row) for row in rows]
