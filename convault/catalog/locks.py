"""Advisory locks of Postgres, by name. They belong to a session and go with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg

from convault.catalog.connection import Connection, connected
from convault.errors import BusyError, CatalogError

# A bigint key shows in pg_locks as its two halves, with objsubid 1 (the manual, "pg_locks").
HELD = """EXISTS (
    SELECT FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND granted AND pid = pg_catalog.pg_backend_pid()
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND mode = '{mode}'
      AND classid::bigint = (%({key})s::bigint >> 32) & 4294967295
      AND objid::bigint = %({key})s::bigint & 4294967295
      AND objsubid = 1)"""
"""SQL: whether this session has the lock of the parameter `key` in that `mode`"""


def key_of(name: str) -> int:
    """A signed 64-bit key, the same everywhere. Two names sharing one is as likely as 1 in 2^64."""
    digest = hashlib.sha256(f"convault {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def backup_key(backup_id: UUID) -> int:
    """The lock of a backup's lease."""
    return key_of(f"backup {backup_id}")


def try_lock(connection: Connection, key: int) -> bool:
    """Take the lock for this session unless another has it."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [key]).fetchone()
    return row is not None and bool(row[0])


def try_lock_shared(connection: Connection, key: int) -> bool:
    """Take the lock for this session, together with others, unless somebody has it alone."""
    row = connection.execute("SELECT pg_try_advisory_lock_shared(%s)", [key]).fetchone()
    return row is not None and bool(row[0])


def held(connection: Connection, key: int, *, alone: bool) -> bool:
    """Whether this session has the lock, alone or shared."""
    mode = "ExclusiveLock" if alone else "ShareLock"
    row = connection.execute(f"SELECT {HELD.format(key='key', mode=mode)}", {"key": key}).fetchone()
    return row is not None and bool(row[0])


def unlock(connection: Connection, key: int, *, alone: bool = True) -> None:
    """Give the lock back, had alone or shared."""
    shared = "" if alone else "_shared"
    connection.execute(f"SELECT pg_advisory_unlock{shared}(%s)", [key])


def pooled() -> CatalogError:
    """Where a session does not have the locks that it took, or has those of others."""
    return CatalogError(
        "The catalog is reached through a pooler in transaction mode, where a lock does not last. "
        "Use the direct connection or the pooler's session mode (port 5432 on Supabase) in "
        "CONVAULT_CATALOG_URL, or DATABASE_URL."
    )


@contextmanager
def one_at_a_time(url: str, name: str, *, seconds: float = 120.0) -> Iterator[None]:
    """Hold the lock `name` on a session of its own. BusyError after waiting for `seconds`."""
    with connected(url) as connection:
        # One wait, bounded by lock_timeout alone.
        connection.execute("SET statement_timeout = 0")
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{seconds}s"])
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", [key_of(name)])
        except psycopg.errors.LockNotAvailable:
            raise BusyError(
                f"Another {name} has been running for {seconds:g} s: try later."
            ) from None
        yield
