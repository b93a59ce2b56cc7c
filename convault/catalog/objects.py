"""What the catalog remembers of objects: when each was last read, and whose turn comes next."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from convault.catalog.connection import Connection


def reads(connection: Connection, repository_id: UUID) -> dict[str, datetime]:
    """By key: when an object was last read and had its digest."""
    rows = connection.execute(
        "SELECT key, read_at FROM public.backup_objects WHERE repository_id = %s AND sound",
        [repository_id],
    )
    return dict(rows.fetchall())


def record(
    connection: Connection, repository_id: UUID, sound: Mapping[str, bool], gone: Collection[str]
) -> None:
    """Write down that these were read just now, by key whether they had their digest; and forget
    those that are gone."""
    if sound:
        connection.execute(
            "INSERT INTO public.backup_objects (repository_id, key, read_at, sound)"
            " SELECT %s, r.key, clock_timestamp(), r.sound"
            " FROM unnest(%s::text[], %s::boolean[]) AS r(key, sound) ORDER BY r.key"
            " ON CONFLICT (repository_id, key) DO UPDATE SET read_at = excluded.read_at,"
            " sound = excluded.sound",
            [repository_id, list(sound), list(sound.values())],
        )
    if gone:
        connection.execute(
            "DELETE FROM public.backup_objects WHERE repository_id = %s AND key = ANY (%s)",
            [repository_id, list(gone)],
        )


def turn(connection: Connection, repository_id: UUID, scope: str, slices: int) -> int:
    """The slice to be read next; 0 when none was."""
    row = connection.execute(
        "SELECT next_slice FROM public.backup_verify_turns"
        " WHERE repository_id = %s AND scope = %s AND slices = %s",
        [repository_id, scope, slices],
    ).fetchone()
    return row[0] % slices if row else 0


def set_turn(
    connection: Connection, repository_id: UUID, scope: str, slices: int, next_slice: int
) -> None:
    """Let `next_slice` be the next."""
    connection.execute(
        "INSERT INTO public.backup_verify_turns (repository_id, scope, slices, next_slice)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (repository_id, scope, slices)"
        " DO UPDATE SET next_slice = excluded.next_slice",
        [repository_id, scope, slices, next_slice],
    )
