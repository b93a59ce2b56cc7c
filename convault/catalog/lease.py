"""The lease on SQL: an advisory lock that dies with its session, and a time in the row.

The lock is the proof: a process that was killed, or cut off, cannot keep it. The time is for people
and for reconcile, which wants both gone before it calls a run dead.
"""

from __future__ import annotations

from uuid import UUID

from convault.catalog.connection import Connection, translated
from convault.catalog.locks import unlock
from convault.catalog.renewal import RenewedLease

# A bigint key shows in pg_locks as its two halves, with objsubid 1 (the manual, "pg_locks"). Lock
# and row are looked at in one statement, so that the answer is of one moment.
_HELD = """EXISTS (
    SELECT FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND granted AND pid = pg_catalog.pg_backend_pid()
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND classid::bigint = (%(key)s::bigint >> 32) & 4294967295
      AND objid::bigint = %(key)s::bigint & 4294967295
      AND objsubid = 1)"""
_RENEW = f"""
    UPDATE public.backups
    SET lease_expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
    WHERE id = %(id)s AND status = 'processing' AND {_HELD} RETURNING true
"""
_RELEASE = f"UPDATE public.backups SET lease_expires_at = NULL WHERE id = %(id)s AND {_HELD}"


class PostgresLease(RenewedLease):
    """A lease on a session that already holds the lock `key`.

    Owns `connection`. Lasts `seconds` by the database's clock each time it is renewed.
    """

    def __init__(
        self,
        connection: Connection,
        backup_id: UUID,
        *,
        key: int,
        seconds: float,
        renew_seconds: float,
    ) -> None:
        super().__init__(backup_id, renew_seconds=renew_seconds)
        self._connection = connection
        self._parameters = {"id": backup_id, "key": key, "seconds": seconds}

    def renew(self) -> bool:
        """Whether this session holds the lock and the row is `processing`; if so, it lasts longer
        now."""
        with translated():
            return self._connection.execute(_RENEW, self._parameters).fetchone() is not None

    def give_back(self) -> None:
        """Unlock, and close the session, which gives the lock back just as well."""
        try:
            with translated():
                self._connection.execute(_RELEASE, self._parameters)
                unlock(self._connection, self._parameters["key"])  # type: ignore[arg-type]
        finally:
            self._connection.close()

    def over(self) -> bool:
        """Once the session is gone."""
        return self._connection.closed
