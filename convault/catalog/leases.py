"""Leases of those who come over the Data API (`public.backup_leases`), as runs over SQL see them.

Whoever asks holds the advisory lock of that name, so nobody takes such a lease meanwhile.
"""

from __future__ import annotations

from convault.catalog.connection import Connection


def is_held(connection: Connection, name: str) -> bool:
    """Whether somebody has it now."""
    row = connection.execute(
        "SELECT true FROM public.backup_leases"
        " WHERE name = %s AND holder IS NOT NULL AND expires_at > clock_timestamp()",
        [name],
    ).fetchone()
    return row is not None


def fence(connection: Connection, name: str) -> bool:
    """Let nobody who had it believe to have it still; False, and nothing done, while it is held."""
    connection.execute(
        "UPDATE public.backup_leases SET holder = NULL, number = number + 1"
        " WHERE name = %s AND (holder IS NULL OR expires_at <= clock_timestamp())",
        [name],
    )
    return not is_held(connection, name)
