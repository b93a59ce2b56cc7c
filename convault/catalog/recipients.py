"""Rows of `public.backup_recipients` in and out of SQL."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg.rows import class_row

from convault.catalog.base import Recipient
from convault.catalog.connection import Connection
from convault.errors import EncryptionError, NotFoundError

_COLUMNS = "public_key, label, added_at, retired_at"


def select(connection: Connection) -> list[Recipient]:
    """All of them, in the order they were added."""
    query = f"SELECT {_COLUMNS} FROM public.backup_recipients ORDER BY added_at, public_key"
    with connection.cursor(row_factory=class_row(Recipient)) as cursor:
        return cursor.execute(query.encode()).fetchall()


def add(connection: Connection, public_key: str, label: str) -> Recipient:
    """Insert the recipient, or make it active again."""
    connection.execute(
        "INSERT INTO public.backup_recipients AS r (public_key, label) VALUES (%s, %s)"
        " ON CONFLICT (public_key) DO UPDATE SET retired_at = NULL,"
        " label = coalesce(nullif(excluded.label, ''), r.label)",
        [public_key, label],
    )
    return _one(connection, public_key)


def retire(connection: Connection, public_key: str, *, last: bool) -> Recipient:
    """Retire the recipient. NotFoundError; EncryptionError for the last one, unless `last`."""
    # Two at once could otherwise each see the other one as still active.
    connection.execute("LOCK TABLE public.backup_recipients IN SHARE ROW EXCLUSIVE MODE")
    there = _one(connection, public_key)
    active = [found for found in select(connection) if found.active]
    if there.active and len(active) == 1 and not last:
        raise EncryptionError(
            "That is the only active recipient: without one no backup can be made, because earlier "
            "ones are encrypted. Add another first (`convault keys add age1...`), or retire it "
            "all the same with --last.",
            recipient=public_key,
        )
    connection.execute(
        "UPDATE public.backup_recipients SET retired_at = clock_timestamp()"
        " WHERE public_key = %s AND retired_at IS NULL",
        [public_key],
    )
    return _one(connection, public_key)


def remember(connection: Connection, public_keys: Sequence[str], label: str) -> list[str]:
    """Insert those that are not there, as retired; which they are."""
    new = []
    for public_key in public_keys:
        inserted = connection.execute(
            "INSERT INTO public.backup_recipients (public_key, label, retired_at)"
            " VALUES (%s, %s, now()) ON CONFLICT (public_key) DO NOTHING RETURNING true",
            [public_key, label],
        ).fetchone()
        if inserted is not None:
            new.append(public_key)
    return new


def _one(connection: Connection, public_key: str) -> Recipient:
    for found in select(connection):
        if found.public_key == public_key:
            return found
    raise NotFoundError(
        f"{public_key} is no recipient: `convault keys show` names those there are.",
        recipient=public_key,
    )
