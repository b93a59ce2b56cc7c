"""The lease on SQL: an advisory lock that dies with its session, and a time in the row.

The lock is the proof: a process that was killed, or cut off, cannot keep it. The time is for people
and for reconcile, which wants both gone before it calls a run dead.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from uuid import UUID

from convault.catalog.connection import Connection, translated
from convault.catalog.locks import HELD, unlock
from convault.errors import CatalogError, CatalogUnavailable, LeaseLost

log = logging.getLogger(__name__)

# Locks and row are looked at in one statement, so that the answer is of one moment.
_LOCKED = HELD.format(key="key", mode="ExclusiveLock")
_SHARED = HELD.format(key="guard", mode="ShareLock")
_RENEW = f"""
    UPDATE public.backups
    SET lease_expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
    WHERE id = %(id)s AND status = 'processing' AND {_LOCKED} AND {_SHARED} RETURNING true
"""
_RELEASE = f"UPDATE public.backups SET lease_expires_at = NULL WHERE id = %(id)s AND {_LOCKED}"


class PostgresLease:
    """Implements `convault.catalog.base.Lease` on a session that already holds the lock `key`, and
    shares the lock `guard`, which keeps out whoever would remove objects.

    Owns `connection`. Renewed by a daemon thread every `renew_seconds`, each time for `seconds` by
    the database's clock.
    """

    def __init__(
        self,
        connection: Connection,
        backup_id: UUID,
        *,
        key: int,
        guard: int,
        seconds: float,
        renew_seconds: float,
    ) -> None:
        self.backup_id = backup_id
        self._connection = connection
        self._parameters = {"id": backup_id, "key": key, "guard": guard, "seconds": seconds}
        self._renew_seconds = renew_seconds
        self._released = threading.Event()
        self._thread = threading.Thread(
            target=self._renew_until_released, name=f"lease of {backup_id}", daemon=True
        )

    def __enter__(self) -> PostgresLease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def check(self) -> None:
        """LeaseLost unless this session holds the lock now and the row is still `processing`."""
        if self._released.is_set():
            raise self._lost("it was given back")
        try:
            renewed = self.renew()
        except CatalogError as error:
            # Whatever the reason: what cannot be proven is not held.
            raise self._lost(f"it could not be proven ({error.code})") from None
        if not renewed:
            raise self._lost("another run or a reconcile took the backup over")

    def release(self) -> None:
        """Give it back; may be called twice, and when the connection is gone."""
        if self._released.is_set():
            return
        self._released.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            with translated():
                self._connection.execute(_RELEASE, self._parameters)
                unlock(self._connection, self._parameters["key"])  # type: ignore[arg-type]
        except CatalogError as error:
            # Closing the session gives the lock back just as well.
            log.info("the lease of backup %s ended with its session: %s", self.backup_id, error)
        finally:
            self._connection.close()

    def renew(self) -> bool:
        """Whether it is held; if so, it now lasts longer. CatalogUnavailable, CatalogError."""
        with translated():
            return self._connection.execute(_RENEW, self._parameters).fetchone() is not None

    def _renew_until_released(self) -> None:
        while not self._released.wait(self._renew_seconds):
            try:
                self.renew()
            except CatalogUnavailable as error:
                # The session may be gone or only slow; `check` decides, before anything is written.
                log.warning("the lease of backup %s was not renewed: %s", self.backup_id, error)
                if self._connection.closed:
                    return
            except CatalogError as error:
                log.warning("the lease of backup %s was not renewed: %s", self.backup_id, error)

    def _lost(self, why: str) -> LeaseLost:
        return LeaseLost(
            f"The lease of backup {self.backup_id} is lost: {why}. Nothing was committed by this "
            "run; start the backup again.",
            backup=self.backup_id,
        )
