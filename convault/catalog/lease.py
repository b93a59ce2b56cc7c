"""The lease on SQL: an advisory lock that dies with its session, and a time in the row.

The lock is the proof: a process that was killed, or cut off, cannot keep it. The time is for people
and for reconcile, which wants both gone before it calls a run dead.
"""

from __future__ import annotations

from uuid import UUID

from convault.catalog.connection import Connection, translated
from convault.catalog.locks import HELD, unlock
from convault.catalog.renewal import RenewedLease

# Locks and row are looked at in one statement, so that the answer is of one moment.
_LOCKED = HELD.format(key="key", mode="ExclusiveLock")
_SHARED = HELD.format(key="guard", mode="ShareLock")
_RENEW = f"""
    UPDATE public.backups
    SET lease_expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
    WHERE id = %(id)s AND status = 'processing' AND {_LOCKED} AND {_SHARED} RETURNING true
"""
_RELEASE = f"UPDATE public.backups SET lease_expires_at = NULL WHERE id = %(id)s AND {_LOCKED}"


class PostgresLease(RenewedLease):
    """A lease on a session that already holds the lock `key`, and shares the lock `guard`, which
    keeps out whoever would remove objects.

    Owns `connection`. Lasts `seconds` by the database's clock each time it is renewed.
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
        super().__init__(backup_id, renew_seconds=renew_seconds)
        self._connection = connection
        self._key = key
        self._guard = guard
        self._parameters = {"id": backup_id, "key": key, "guard": guard, "seconds": seconds}

    def renew(self) -> bool:
        """Whether this session holds the lock and the row is `processing`; if so, it lasts longer
        now."""
        with translated():
            return self._connection.execute(_RENEW, self._parameters).fetchone() is not None

    def give_back(self) -> None:
        """Unlock both, and close the session, which would give the locks back as well, but not at
        once where the server is busy."""
        try:
            with translated():
                self._connection.execute(_RELEASE, self._parameters)
                unlock(self._connection, self._key)
                unlock(self._connection, self._guard, alone=False)
        finally:
            self._connection.close()

    def over(self) -> bool:
        """Once the session is gone."""
        return self._connection.closed
