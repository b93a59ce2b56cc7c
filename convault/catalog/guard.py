"""The lock that whoever writes objects shares, and that whoever removes some has alone."""

from __future__ import annotations

import time
from types import TracebackType
from uuid import UUID

from convault.catalog import leases
from convault.catalog.connection import Connection, connect, translated
from convault.catalog.locks import held, key_of, try_lock, try_lock_shared
from convault.errors import BusyError, CatalogError, LeaseLost


def guard_key(repository_id: UUID) -> int:
    """The lock of a repository's objects."""
    return key_of(f"objects of {repository_id}")


def share(connection: Connection, repository_id: UUID, seconds: float) -> None:
    """Take the lock together with others. BusyError when somebody removes objects for longer."""
    deadline = time.monotonic() + seconds
    while not try_lock_shared(connection, guard_key(repository_id)):
        if time.monotonic() > deadline:
            raise BusyError(
                "Objects of the repository are being removed, and nothing may be written "
                "meanwhile: try again in a few minutes."
            )
        time.sleep(0.1)


def take_alone(connection: Connection, repository_id: UUID, seconds: float) -> None:
    """Take the lock alone. BusyError when a backup runs, or may still be writing its manifest.

    It is asked for again and again, never waited for in Postgres: who waits there for a lock alone
    keeps out everybody who would share it.
    """
    deadline = time.monotonic() + seconds
    while not try_lock(connection, guard_key(repository_id)):
        if time.monotonic() > deadline:
            raise BusyError(
                "A backup, a rekey or another sweep is at work, so nothing can be removed now: "
                "try again when it is over."
            )
        time.sleep(0.05)
    # A run whose session was lost may have proven its lease just before: it renewed it by that, and
    # until that time is over its manifest may come.
    if leases.is_any_held(connection, f"objects of {repository_id} by "):
        raise BusyError(
            "Somebody who reaches the catalog over the Data API writes objects, so nothing can be "
            "removed now: try again when that is over."
        )
    row = connection.execute(
        "SELECT id FROM public.backups WHERE repository_id = %s AND status = 'processing'"
        " AND lease_expires_at > clock_timestamp() LIMIT 1",
        [repository_id],
    ).fetchone()
    if row is not None:
        raise BusyError(
            f"Backup {row[0]} may still be writing: its lease is not over. Try again in two "
            "minutes.",
            backup=row[0],
        )


class PostgresGuard:
    """Implements `convault.catalog.base.Guard` on a session of its own."""

    def __init__(self, url: str, repository_id: UUID, *, alone: bool, seconds: float) -> None:
        self._key = guard_key(repository_id)
        self._alone = alone
        self._connection = connect(url)
        try:
            with translated():
                (take_alone if alone else share)(self._connection, repository_id, seconds)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> PostgresGuard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def check(self) -> None:
        """LeaseLost unless this session holds the lock now."""
        try:
            with translated():
                if held(self._connection, self._key, alone=self._alone):
                    return
            why = "its session does not hold it any more"
        except CatalogError as error:
            why = f"it could not be proven ({error.code})"
        raise LeaseLost(f"The lock on the repository's objects is lost: {why}. Start again.")
