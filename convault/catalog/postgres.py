"""The catalog on SQL: `public.backups` and its neighbours, each call a transaction of its own."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from convault.catalog import (
    audit,
    copies,
    incidents,
    leases,
    migrations,
    objects,
    recipients,
    rows,
    schedules,
)
from convault.catalog.base import (
    AuditEntry,
    BackupRecord,
    BackupStatus,
    CopyRecord,
    Lease,
    Page,
    Query,
    Recipient,
)
from convault.catalog.connection import Connection, check_url, connect, translated
from convault.catalog.guard import (
    PostgresGuard,
    guard_key,
    guard_name,
    share,
    take_alone,
    take_named,
)
from convault.catalog.idle import IdleConnections
from convault.catalog.lease import PostgresLease
from convault.catalog.locks import backup_key, pooled, try_lock, unlock
from convault.errors import BusyError, CatalogError, CatalogUnavailable
from convault.incidents import Incident, Notice
from convault.schedule import BackupSchedule

_Result = TypeVar("_Result")

_OVER = (BackupStatus.COMPLETED.value, BackupStatus.FAILED.value, BackupStatus.DELETED.value)


class PostgresCatalog:
    """Implements `convault.catalog.base.Catalog`. May be shared by threads."""

    def __init__(
        self,
        url: str,
        *,
        lease_seconds: float = 90.0,
        renew_seconds: float = 30.0,
        patience: float = 2.0,
        guard_patience: float = 600.0,
        attempts: int = 3,
        kept: int = 0,
    ) -> None:
        """`patience`: seconds that `begin` waits for a lock before it is a BusyError, since a
        session that was just closed may still be letting it go; `guard_patience`: seconds that who
        writes objects waits for a sweep to end its phase. A call is tried `attempts` times
        while the database is unavailable; every call may be repeated. So many sessions are `kept`
        for later calls.
        """
        check_url(url)
        self._url = url
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._patience = patience
        self._guard_patience = guard_patience
        self._attempts = attempts
        self._idle = IdleConnections(url, kept)

    # Migrations and repositories

    def migrate(self) -> builtins.list[str]:
        """Apply the missing files of supabase/migrations; their names."""
        return migrations.migrate(self._url)

    def missing_migrations(self) -> builtins.list[str]:
        """Names of the files that are not applied. Changes nothing."""
        return self._do(lambda c: [m.name for m in migrations.missing(c)])

    def repository_id(self) -> UUID | None:
        """The current repository."""

        def ask(connection: Connection) -> UUID | None:
            row = connection.execute(
                "SELECT repository_id FROM public.backup_repositories WHERE current"
            ).fetchone()
            return None if row is None else row[0]

        return self._do(ask)

    def register_repository(self, repository_id: UUID, installation_id: UUID, url: str) -> None:
        """Make it the current one."""

        def write(connection: Connection) -> None:
            # Readers go on; a second writer waits instead of meeting the index of one current.
            connection.execute("LOCK TABLE public.backup_repositories IN SHARE ROW EXCLUSIVE MODE")
            connection.execute(
                "UPDATE public.backup_repositories SET current = false"
                " WHERE current AND repository_id <> %s",
                [repository_id],
            )
            connection.execute(
                "INSERT INTO public.backup_repositories"
                " (repository_id, installation_id, url, current) VALUES (%s, %s, %s, true)"
                " ON CONFLICT (repository_id) DO UPDATE SET current = true,"
                " installation_id = excluded.installation_id, url = excluded.url",
                [repository_id, installation_id, url],
            )

        self._do(write)

    def installation_id(self) -> UUID | None:
        """Who this catalog is to the current repository."""

        def ask(connection: Connection) -> UUID | None:
            row = connection.execute(
                "SELECT installation_id FROM public.backup_repositories WHERE current"
            ).fetchone()
            return None if row is None else row[0]

        return self._do(ask)

    def now(self) -> datetime:
        """The database's time."""

        def ask(connection: Connection) -> datetime:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            assert row is not None
            time: datetime = row[0]
            return time

        return self._do(ask)

    def guard(self, repository_id: UUID, *, alone: bool = False) -> PostgresGuard:
        """An advisory lock on a session of its own, shared or alone. BusyError."""
        seconds = self._patience if alone else self._guard_patience

        def take(connection: Connection) -> None:
            (take_alone if alone else share)(connection, repository_id, seconds)

        return PostgresGuard(self._url, guard_name(repository_id), take, alone=alone)

    def exclusive(
        self, name: str, busy: BusyError, *, seconds: float | None = None
    ) -> PostgresGuard:
        """An advisory lock on a session of its own. `busy`."""
        patience = self._patience if seconds is None else seconds
        return PostgresGuard(
            self._url, name, lambda c: take_named(c, name, patience, busy), alone=True
        )

    # Audit

    def audit(self, entry: AuditEntry) -> None:
        """Add a row."""
        self._do(lambda c: audit.write(c, entry))

    def audited(self, limit: int = 100) -> Sequence[AuditEntry]:
        """Newest first."""
        return self._do(lambda c: audit.select(c, limit))

    # Rows

    def add(self, record: BackupRecord, *, keep_times: bool = False) -> BackupRecord:
        """Insert the row unless its id is there; the row that is there afterwards."""

        def write(connection: Connection) -> BackupRecord:
            rows.insert(connection, record, keep_times=keep_times)
            return rows.select_one(connection, record.id)

        return self._do(write)

    def get(self, backup_id: UUID) -> BackupRecord:
        """The row. NotFoundError."""
        return self._do(lambda connection: rows.select_one(connection, backup_id))

    def list(
        self, *, status: BackupStatus | None = None, limit: int | None = None
    ) -> builtins.list[BackupRecord]:
        """Rows, newest first."""
        where = SQL("WHERE status = {} ").format(status.value) if status else SQL("")
        rest = where + SQL("ORDER BY created_at DESC, id LIMIT {}").format(limit)
        return self._do(lambda connection: rows.select(connection, rest, {}))

    def page(self, query: Query) -> Page:
        """Some of the rows, newest first, from one snapshot with their number."""
        return self._do(lambda connection: rows.page(connection, query), transaction=False)

    def update(self, backup_id: UUID, **columns: Any) -> BackupRecord:
        """Set columns. CatalogError when this would take the row out of `completed` (or out of
        `failed`, unless to `completed`: whoever says that has written the manifest)."""
        status = columns.get("status")
        kept = () if status in {None, BackupStatus.COMPLETED} else _OVER
        still = SQL("status::text <> ALL({}::text[])").format([s for s in kept if s != status])

        def write(connection: Connection) -> BackupRecord:
            changed = rows.change(connection, backup_id, columns, still, {})
            if changed is not None:
                return changed
            there = rows.select_one(connection, backup_id)
            raise CatalogError(
                f"Backup {backup_id} is {there.status} and stays so; start a new one.",
                backup=backup_id,
            )

        return self._do(write)

    def replace(self, seen: BackupRecord, **columns: Any) -> BackupRecord | None:
        """Set columns if the row's status, lease and time of change still are as `seen`."""
        unchanged = SQL(
            "status = %(seen_status)s AND updated_at = %(seen_updated_at)s"
            " AND lease_expires_at IS NOT DISTINCT FROM %(seen_lease)s"
        )
        parameters = {
            "seen_status": seen.status.value,
            "seen_updated_at": seen.updated_at,
            "seen_lease": seen.lease_expires_at,
        }
        return self._do(lambda c: rows.change(c, seen.id, columns, unchanged, parameters))

    # Schedules

    def schedules(self) -> Sequence[BackupSchedule]:
        """By name."""
        return self._do(schedules.select)

    def save_schedule(self, schedule: BackupSchedule) -> None:
        """There afterwards, as it says."""
        self._do(lambda c: schedules.save(c, schedule))

    def delete_schedule(self, schedule_id: UUID) -> None:
        """Gone afterwards."""
        self._do(lambda c: schedules.delete(c, schedule_id))

    # Copies

    def copies(self, repository_id: UUID) -> Sequence[CopyRecord]:
        """By name."""
        return self._do(lambda c: copies.select(c, repository_id))

    def save_copy(self, copy: CopyRecord) -> None:
        """There afterwards, as it says."""
        self._do(lambda c: copies.save(c, copy))

    # Incidents

    def incidents(self, limit: int = 200) -> Sequence[Incident]:
        """Open ones, then those that ended last."""
        return self._do(lambda c: incidents.select(c, limit))

    def open_incident(self, notice: Notice, seen_at: datetime) -> bool:
        """Whether it is new."""
        given = incidents.opening(notice, seen_at)
        return self._do(lambda c: incidents.call(c, "convault_open_incident", given))

    def close_incident(self, incident_id: UUID, seen_at: datetime) -> bool:
        """Whether it is over now."""
        given = {"incident": incident_id, "seen_at": seen_at}
        return self._do(lambda c: incidents.call(c, "convault_close_incident", given))

    def claim_incident(self, incident_id: UUID, *, recovery: bool, seconds: float) -> bool:
        """Whether the caller is the one to tell."""
        given = {"incident": incident_id, "recovery": recovery, "seconds": seconds}
        return self._do(lambda c: incidents.call(c, "convault_claim_incident", given))

    def told_incident(
        self, incident_id: UUID, *, recovery: bool, told_to: tuple[str, ...], done: bool,
        problem: str = "", seconds: float = 0.0,
    ) -> None:  # fmt: skip
        """How telling ended."""
        given = incidents.telling(incident_id, recovery, told_to, done, problem, seconds)
        self._do(lambda c: incidents.call(c, "convault_told_incident", given))

    # Recipients

    def recipients(self) -> Sequence[Recipient]:
        """Active and retired."""
        return self._do(recipients.select)

    def add_recipient(self, public_key: str, label: str = "") -> Recipient:
        """Active from now on."""
        return self._do(lambda c: recipients.add(c, public_key, label))

    def retire_recipient(self, public_key: str, *, last: bool = False) -> Recipient:
        """Retired from now on. NotFoundError, EncryptionError."""
        return self._do(lambda c: recipients.retire(c, public_key, last=last))

    def remember_recipients(self, public_keys: Sequence[str], label: str) -> Sequence[str]:
        """Known from now on, as retired."""
        return self._do(lambda c: recipients.remember(c, public_keys, label))

    # Leases

    def begin(
        self, backup_id: UUID, options: dict[str, Any], flow_run_id: UUID | None = None
    ) -> Lease:
        """Take the backup's lock, then make the row `processing`, then begin to renew."""
        key = backup_key(backup_id)
        connection = connect(self._url)
        try:
            with translated():
                self._lock(connection, backup_id, key)
                repository_id = self._current(connection)
                share(connection, repository_id, self._guard_patience)
                with connection.transaction():
                    self._take(connection, backup_id, repository_id, options, flow_run_id)
            lease = PostgresLease(
                connection,
                backup_id,
                key=key,
                guard=guard_key(repository_id),
                seconds=self._lease_seconds,
                renew_seconds=self._renew_seconds,
            )
            if not lease.renew():
                raise pooled()
            lease.start()
        except BaseException:
            # Closing gives the lock back, so that the same process can try again.
            connection.close()
            raise
        return lease

    def abandoned(self) -> Sequence[UUID]:
        """`processing`, lease over, lock free."""

        def ask(connection: Connection) -> builtins.list[UUID]:
            over = connection.execute(
                "SELECT id FROM public.backups WHERE status = 'processing'"
                " AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())"
            ).fetchall()
            free = []
            for (backup_id,) in over:
                if try_lock(connection, backup_key(backup_id)):
                    unlock(connection, backup_key(backup_id))
                    free.append(backup_id)
            return free

        return self._do(ask, transaction=False)

    # Objects

    def objects_read(self, repository_id: UUID) -> dict[str, datetime]:
        """By key: when it was last read and sound."""
        return self._do(lambda c: objects.reads(c, repository_id))

    def record_read(
        self, repository_id: UUID, sound: Mapping[str, bool], gone: Collection[str] = ()
    ) -> None:
        """Read just now; gone."""
        self._do(lambda c: objects.record(c, repository_id, sound, gone))

    def turn(self, repository_id: UUID, scope: str, slices: int) -> int:
        """The slice to be read next."""
        return self._do(lambda c: objects.turn(c, repository_id, scope, slices))

    def set_turn(self, repository_id: UUID, scope: str, slices: int, next_slice: int) -> None:
        """Let it be the next."""
        self._do(lambda c: objects.set_turn(c, repository_id, scope, slices, next_slice))

    def _lock(self, connection: Connection, backup_id: UUID, key: int) -> None:
        deadline = time.monotonic() + self._patience
        while not try_lock(connection, key):
            if time.monotonic() > deadline:
                raise BusyError(
                    f"Another run is working on backup {backup_id}. Wait until it is over, or "
                    "start a new backup.",
                    backup=backup_id,
                )
            time.sleep(0.05)

    def _current(self, connection: Connection) -> UUID:
        row = connection.execute(
            "SELECT repository_id FROM public.backup_repositories WHERE current"
        ).fetchone()
        if row is None:
            raise CatalogError("The catalog knows no repository yet: run `convault init`.")
        found: UUID = row[0]
        return found

    def _take(
        self,
        connection: Connection,
        backup_id: UUID,
        repository_id: UUID,
        options: dict[str, Any],
        flow_run_id: UUID | None,
    ) -> None:
        taken = connection.execute(
            "INSERT INTO public.backups AS b"
            " (id, status, options, repository_id, flow_run_id, started_at, lease_expires_at)"
            " VALUES (%(id)s, 'processing', %(options)s, %(repository)s, %(run)s,"
            " clock_timestamp(), clock_timestamp() + make_interval(secs => %(seconds)s))"
            " ON CONFLICT (id) DO UPDATE SET status = excluded.status, options = excluded.options,"
            " repository_id = excluded.repository_id, started_at = excluded.started_at,"
            " flow_run_id = coalesce(excluded.flow_run_id, b.flow_run_id),"
            " lease_expires_at = excluded.lease_expires_at, updated_at = clock_timestamp()"
            " WHERE b.status IN ('pending', 'processing') RETURNING true",
            {
                "id": backup_id,
                "options": Jsonb(options),
                "repository": repository_id,
                "run": flow_run_id,
                "seconds": self._lease_seconds,
            },
        ).fetchone()
        if not leases.fence(connection, f"backup {backup_id}"):
            raise BusyError(
                f"Another run is working on backup {backup_id}, over the Data API. Wait until "
                "it is over, or start a new backup.",
                backup=backup_id,
            )
        if taken is None:
            there = rows.select_one(connection, backup_id)
            raise CatalogError(
                f"Backup {backup_id} is already {there.status}: start a new one.",
                backup=backup_id,
                status=there.status,
            )

    def _do(self, work: Callable[[Connection], _Result], *, transaction: bool = True) -> _Result:
        for attempt in range(1, self._attempts + 1):
            try:
                with self._idle.connected() as connection:
                    if not transaction:
                        return work(connection)
                    with connection.transaction():
                        return work(connection)
            except CatalogUnavailable:
                if attempt == self._attempts:
                    raise
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")
