"""The lock that whoever writes objects shares, and that whoever removes some has alone; and locks
by name, which one has alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from uuid import UUID

from convault.catalog import leases
from convault.catalog.connection import Connection, connect, translated
from convault.catalog.locks import held, key_of, pooled, try_lock, try_lock_shared, unlock
from convault.errors import BusyError, CatalogError, LeaseLost

log = logging.getLogger(__name__)


def guard_name(repository_id: UUID) -> str:
    """The lock of a repository's objects."""
    return f"objects of {repository_id}"


def guard_key(repository_id: UUID) -> int:
    """The same as a number."""
    return key_of(guard_name(repository_id))


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


def take_named(connection: Connection, name: str, seconds: float, busy: BusyError) -> None:
    """Take the lock `name` alone. `busy` while somebody else has it, over the Data API as well."""
    deadline = time.monotonic() + seconds
    taken = False
    while True:
        taken = taken or try_lock(connection, key_of(name))
        # From here on nobody begins over the Data API; who had begun is waited for.
        if taken and leases.fence(connection, name):
            return
        if time.monotonic() > deadline:
            raise busy
        time.sleep(0.1)


class PostgresGuard:
    """Implements `convault.catalog.base.Guard` on a session of its own."""

    def __init__(
        self, url: str, name: str, take: Callable[[Connection], None], *, alone: bool
    ) -> None:
        """`take` takes the lock `name`; its errors, and CatalogError where no session lasts."""
        self._name = name
        self._key = key_of(name)
        self._alone = alone
        self._connection = connect(url)
        try:
            with translated():
                # A session that is new has no lock: this one is another one's too.
                if held(self._connection, self._key, alone=alone):
                    raise pooled()
                take(self._connection)
                if not held(self._connection, self._key, alone=alone):
                    raise pooled()
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
        # Its end would give the lock back as well, but not at once, and behind some poolers never.
        try:
            with translated():
                unlock(self._connection, self._key, alone=self._alone)
        except CatalogError as failed:
            log.info("the lock %s ended with its session: %s", self._name, failed)
        finally:
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
        raise LeaseLost(f"The lock of {self._name} is lost: {why}. Start again.")
