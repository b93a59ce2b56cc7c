"""The catalog over the Data API: the tables and functions of supabase/migrations."""

from __future__ import annotations

import builtins
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from pydantic_core import to_jsonable_python

from convault.catalog import incidents, migrations
from convault.catalog.base import (
    AuditEntry,
    BackupRecord,
    BackupStatus,
    CopyRecord,
    Guard,
    Lease,
    Page,
    Query,
    Recipient,
)
from convault.catalog.rows import SETTABLE, TIMES, check_settable, record_of, storable
from convault.catalog.supabase import tables
from convault.catalog.supabase.answers import RUN_THE_SQL
from convault.catalog.supabase.api import DataApi
from convault.catalog.supabase.lease import SupabaseLease, share, take_named
from convault.errors import (
    BusyError,
    CatalogError,
    CatalogUnavailable,
    EncryptionError,
    NotFoundError,
)
from convault.incidents import Incident, Notice
from convault.project import Project
from convault.schedule import BackupSchedule

_OVER = (BackupStatus.COMPLETED.value, BackupStatus.FAILED.value, BackupStatus.DELETED.value)
_NOW = "now"
"""as Postgres reads it where a time is wanted: the time of the statement, by its own clock"""
_OBJECTS = 2000
"""written down in one request"""


class SupabaseCatalog:
    """Implements `convault.catalog.base.Catalog`. May be shared by threads."""

    def __init__(
        self,
        project: Project,
        *,
        lease_seconds: float = 90.0,
        renew_seconds: float = 30.0,
        patience: float = 2.0,
        attempts: int = 4,
    ) -> None:
        """As of `PostgresCatalog`; nothing is connected yet."""
        self._api = DataApi(project, attempts=attempts)
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._patience = patience
        self._unanswered: dict[UUID, UUID] = {}
        """by backup: who asked for its lease and got no answer, but perhaps the lease"""

    # Migrations and repositories

    def migrate(self) -> builtins.list[str]:
        """Nothing to do, or CatalogError that says what SQL to run: the Data API makes no
        tables."""
        missing = self.missing_migrations()
        if missing:
            raise CatalogError(
                f"The catalog's tables are missing or older than this version ({len(missing)} "
                f"files not applied: {', '.join(missing)}), and over the Data API none can be "
                f"made: {RUN_THE_SQL}. Or set DATABASE_URL once, and `convault init` does it."
            )
        return []

    def missing_migrations(self) -> builtins.list[str]:
        """Names of the files that are not written down as applied, or with another text."""
        try:
            rows = builtins.list(
                tables.by_key(self._api, "convault_migrations", "name", "name,sha256")
            )
        except CatalogError as error:
            if not str(error.ids.get("sqlstate", "")).startswith(("42P01", "PGRST205")):
                raise
            rows = []
        return migrations.names_missing({row["name"]: row["sha256"] for row in rows})

    def repository_id(self) -> UUID | None:
        """The current repository."""
        rows = self._api.retried(
            lambda _: tables.rows_of(
                self._api.client.from_("backup_repositories")
                .select("repository_id")
                .is_("current", True)
                .execute()
                .data
            )
        )
        return UUID(rows[0]["repository_id"]) if rows else None

    def register_repository(self, repository_id: UUID, installation_id: UUID, url: str) -> None:
        """Make it the current one."""
        self._api.function(
            "convault_register",
            {"repository": str(repository_id), "installation": str(installation_id), "url": url},
        )

    def installation_id(self) -> UUID | None:
        """Who this catalog is to the current repository."""
        rows = self._api.retried(
            lambda _: tables.rows_of(
                self._api.client.from_("backup_repositories")
                .select("installation_id")
                .is_("current", True)
                .execute()
                .data
            )
        )
        return UUID(rows[0]["installation_id"]) if rows else None

    def now(self) -> datetime:
        """The database's time."""
        return datetime.fromisoformat(self._api.function("convault_now", {}))

    def guard(self, repository_id: UUID, *, alone: bool = False) -> Guard:
        """A lease beside those of backups. BusyError; CatalogError for `alone`: leases of others
        end by a clock, and nothing may be removed that somebody late might still name."""
        if alone:
            raise CatalogError(
                "Objects are removed only with a catalog over SQL, whose locks end with their "
                "holder: set DATABASE_URL or CONVAULT_CATALOG_URL to the project's database, and "
                "run this again. Backups go on over the Data API."
            )
        times = {"seconds": self._lease_seconds, "renew_seconds": self._renew_seconds}
        return share(self._api, repository_id, **times)

    def exclusive(self, name: str, busy: BusyError, *, seconds: float | None = None) -> Guard:
        """A lease. `busy`."""
        patience = self._patience if seconds is None else seconds
        times = {"seconds": self._lease_seconds, "renew_seconds": self._renew_seconds}
        return take_named(self._api, name, patience, busy, **times)

    # Audit

    def audit(self, entry: AuditEntry) -> None:
        """Add a row; perhaps twice, where the first answer was lost, rather than not at all."""
        values = {name: _json(value) for name, value in entry.model_dump(exclude={"at"}).items()}
        self._api.retried(lambda _: self._api.client.from_("backup_audit").insert(values).execute())

    def audited(self, limit: int = 100) -> Sequence[AuditEntry]:
        """Newest first."""
        columns = ",".join(AuditEntry.model_fields)
        rows = self._api.retried(
            lambda _: tables.rows_of(
                self._api.client.from_("backup_audit")
                .select(columns)
                .order("at", desc=True)
                .order("id", desc=True)
                .limit(limit)
                .execute()
                .data
            )
        )
        return [AuditEntry.model_validate(row) for row in rows]

    # Rows

    def add(self, record: BackupRecord, *, keep_times: bool = False) -> BackupRecord:
        """Insert the row unless its id is there; the row that is there afterwards."""
        names = {"id", *SETTABLE, *(TIMES if keep_times else ())}
        values = {name: _json(getattr(record, name)) for name in names}
        self._api.retried(
            lambda _: (
                self._api.client.from_("backups")
                .upsert(values, on_conflict="id", ignore_duplicates=True)
                .execute()
            )
        )
        return self.get(record.id)

    def get(self, backup_id: UUID) -> BackupRecord:
        """The row. NotFoundError."""
        found = builtins.list(tables.backups(self._api, lambda a: a.eq("id", backup_id), limit=1))
        if not found:
            raise NotFoundError(
                f"There is no backup {backup_id}: `convault list` shows those there are.",
                backup=backup_id,
            )
        return found[0]

    def list(
        self, *, status: BackupStatus | None = None, limit: int | None = None
    ) -> builtins.list[BackupRecord]:
        """Rows, newest first."""
        return builtins.list(
            tables.backups(
                self._api, lambda a: a.eq("status", status.value) if status else a, limit=limit
            )
        )

    def page(self, query: Query) -> Page:
        """Some of the rows, newest first, and how many there are."""
        return tables.page(self._api, query)

    def update(self, backup_id: UUID, **columns: Any) -> BackupRecord:
        """Set columns, as `PostgresCatalog.update`."""
        status = columns.get("status")
        kept = () if status in {None, BackupStatus.COMPLETED} else _OVER
        over = [name for name in kept if name != status]
        changed = self._change(
            backup_id, columns, lambda a: a.not_.in_("status", over) if over else a
        )
        if changed is not None:
            return changed
        there = self.get(backup_id)
        raise CatalogError(
            f"Backup {backup_id} is {there.status} and stays so; start a new one.",
            backup=backup_id,
        )

    def replace(self, seen: BackupRecord, **columns: Any) -> BackupRecord | None:
        """Set columns if the row's status, lease and time of change still are as `seen`."""

        def unchanged(asked: Any) -> Any:
            asked = asked.eq("status", seen.status.value)
            asked = asked.eq("updated_at", seen.updated_at.isoformat())
            if seen.lease_expires_at is None:
                return asked.is_("lease_expires_at", None)
            return asked.eq("lease_expires_at", seen.lease_expires_at.isoformat())

        return self._change(seen.id, columns, unchanged)

    def _change(
        self, backup_id: UUID, columns: Mapping[str, Any], where: Callable[[Any], Any]
    ) -> BackupRecord | None:
        """The row once it is changed; None where `where` does not hold, or there is none."""
        check_settable(columns)
        values = {name: _json(value) for name, value in columns.items()}

        def change(again: bool) -> BackupRecord | None:
            asked = self._api.client.from_("backups").update({**values, "updated_at": _NOW})
            rows = tables.rows_of(where(asked.eq("id", backup_id)).execute().data)
            if rows:
                return record_of(rows[0])
            # The call before this one may have done it, and only its answer was lost.
            there = self._found(backup_id) if again else None
            done = there is not None and all(_json(getattr(there, n)) == values[n] for n in values)
            return there if done else None

        return self._api.retried(change)

    def _found(self, backup_id: UUID) -> BackupRecord | None:
        try:
            return self.get(backup_id)
        except NotFoundError:
            return None

    # Schedules

    def schedules(self) -> Sequence[BackupSchedule]:
        """By name."""
        columns = ",".join(BackupSchedule.model_fields)
        rows = tables.by_key(self._api, "backup_schedules", "id", columns)
        named = [BackupSchedule.model_validate(row) for row in rows if row["name"] is not None]
        return sorted(named, key=lambda schedule: schedule.name)

    def save_schedule(self, schedule: BackupSchedule) -> None:
        """There afterwards, as it says."""
        values = schedule.model_dump(mode="json", exclude={"created_at", "updated_at"})
        self._upsert("backup_schedules", {**values, "updated_at": _NOW}, "id")

    def delete_schedule(self, schedule_id: UUID) -> None:
        """Gone afterwards."""
        self._api.retried(
            lambda _: (
                self._api.client.from_("backup_schedules").delete().eq("id", schedule_id).execute()
            )
        )

    # Copies

    def copies(self, repository_id: UUID) -> Sequence[CopyRecord]:
        """By name."""
        columns, where = ",".join(CopyRecord.model_fields), {"repository_id": str(repository_id)}
        rows = tables.by_key(self._api, "backup_copies", "id", columns, where)
        return sorted(map(CopyRecord.model_validate, rows), key=lambda copy: copy.name)

    def save_copy(self, copy: CopyRecord) -> None:
        """There afterwards, as it says."""
        self._upsert("backup_copies", copy.model_dump(mode="json"), "id")

    # Incidents

    def incidents(self, limit: int = 200) -> Sequence[Incident]:
        """Open ones, then those that ended last."""
        columns = ",".join(incidents.COLUMNS)
        rows = self._api.retried(
            lambda _: tables.rows_of(
                self._api.client.from_("backup_incidents")
                .select(columns)
                .order("recovered_at", desc=True, nullsfirst=True)
                .order("opened_at", desc=True)
                .order("id")
                .limit(limit)
                .execute()
                .data
            )
        )
        return [Incident.model_validate(row) for row in rows]

    def open_incident(self, notice: Notice, seen_at: datetime) -> bool:
        """Whether it is new."""
        return self._called("convault_open_incident", incidents.opening(notice, seen_at))

    def close_incident(self, incident_id: UUID, seen_at: datetime) -> bool:
        """Whether it is over now."""
        given = {"incident": incident_id, "seen_at": seen_at}
        return self._called("convault_close_incident", given)

    def claim_incident(self, incident_id: UUID, *, recovery: bool, seconds: float) -> bool:
        """Whether the caller is the one to tell."""
        given = {"incident": incident_id, "recovery": recovery, "seconds": seconds}
        return self._called("convault_claim_incident", given)

    def told_incident(
        self, incident_id: UUID, *, recovery: bool, told_to: tuple[str, ...], done: bool,
        problem: str = "", seconds: float = 0.0,
    ) -> None:  # fmt: skip
        """How telling ended."""
        given = incidents.telling(incident_id, recovery, told_to, done, problem, seconds)
        self._called("convault_told_incident", given)

    def _called(self, function: str, parameters: Mapping[str, Any]) -> bool:
        return self._api.function(function, to_jsonable_python(parameters)) is True

    # Recipients

    def recipients(self) -> Sequence[Recipient]:
        """Active and retired."""
        columns = ",".join(Recipient.model_fields)
        rows = tables.by_key(self._api, "backup_recipients", "public_key", columns)
        found = map(Recipient.model_validate, rows)
        return sorted(found, key=lambda recipient: (recipient.added_at, recipient.public_key))

    def add_recipient(self, public_key: str, label: str = "") -> Recipient:
        """Active from now on."""
        self._api.function("convault_add_recipient", {"public_key": public_key, "label": label})
        return self._recipient(public_key)

    def retire_recipient(self, public_key: str, *, last: bool = False) -> Recipient:
        """Retired from now on. NotFoundError, EncryptionError."""
        outcome = self._api.function(
            "convault_retire_recipient", {"public_key": public_key, "even_last": last}
        )
        if outcome == "last":
            raise EncryptionError(
                "That is the only active recipient: without one no backup can be made, because "
                "earlier ones are encrypted. Add another first (`convault keys add age1...`), or "
                "retire it all the same with --last.",
                recipient=public_key,
            )
        return self._recipient(public_key)

    def remember_recipients(self, public_keys: Sequence[str], label: str) -> Sequence[str]:
        """Known from now on, as retired."""
        if not public_keys:
            return []
        new = self._api.function(
            "convault_remember_recipients",
            {"public_keys": json.dumps([*public_keys]), "label": label},
        )
        return [key for key in dict.fromkeys(public_keys) if key in new]

    def _recipient(self, public_key: str) -> Recipient:
        for found in self.recipients():
            if found.public_key == public_key:
                return found
        raise NotFoundError(
            f"{public_key} is no recipient: `convault keys show` names those there are.",
            recipient=public_key,
        )

    # Leases

    def begin(
        self, backup_id: UUID, options: dict[str, Any], flow_run_id: UUID | None = None
    ) -> Lease:
        """Take the backup's lease and make the row `processing`, in one transaction of the
        database; then begin to renew."""
        # After a call that got no answer, the same holder asks again: it may have the lease.
        holder = self._unanswered.pop(backup_id, None) or uuid4()
        asked = {
            "backup": str(backup_id),
            "holder": str(holder),
            "options": json.dumps(options),
            "flow_run": None if flow_run_id is None else str(flow_run_id),
            "seconds": self._lease_seconds,
        }
        deadline = time.monotonic() + self._patience
        while True:
            try:
                answer = self._api.function("convault_begin", asked)
            except CatalogUnavailable:
                self._unanswered[backup_id] = holder
                raise
            if answer["outcome"] != "busy" or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if answer["outcome"] == "busy":
            raise BusyError(
                f"Another run is working on backup {backup_id}, or one was cut off less than "
                f"{self._lease_seconds:g} s ago. Wait until it is over, or start a new backup.",
                backup=backup_id,
            )
        if answer["outcome"] == "over":
            raise CatalogError(
                f"Backup {backup_id} is already {answer['status']}: start a new one.",
                backup=backup_id,
                status=answer["status"],
            )
        if answer["outcome"] == "no-repository":
            raise CatalogError("The catalog knows no repository yet: run `convault init`.")
        lease = SupabaseLease(
            self._api,
            backup_id,
            holder=holder,
            number=answer["number"],
            seconds=self._lease_seconds,
            renew_seconds=self._renew_seconds,
        )
        lease.start()
        return lease

    def abandoned(self) -> Sequence[UUID]:
        """`processing`, lease over, and no run over SQL holds its lock."""
        return [UUID(text) for text in self._api.function("convault_abandoned", {})]

    # Objects

    def objects_read(self, repository_id: UUID) -> dict[str, datetime]:
        """By key: when it was last read and sound."""
        where = {"repository_id": str(repository_id), "sound": "true"}
        rows = tables.by_key(self._api, "backup_objects", "key", "key,read_at", where)
        return {row["key"]: datetime.fromisoformat(row["read_at"]) for row in rows}

    def record_read(
        self, repository_id: UUID, sound: Mapping[str, bool], gone: Collection[str] = ()
    ) -> None:
        """Read just now; gone."""
        told, lost = builtins.list(sound.items()), builtins.list(gone)
        for first in range(0, max(len(told), len(lost)), _OBJECTS):
            self._api.function(
                "convault_record_read",
                {
                    "repository": str(repository_id),
                    "sound": json.dumps(dict(told[first : first + _OBJECTS])),
                    "gone": json.dumps(lost[first : first + _OBJECTS]),
                },
            )

    def turn(self, repository_id: UUID, scope: str, slices: int) -> int:
        """The slice to be read next."""
        rows = self._api.retried(
            lambda _: tables.rows_of(
                self._api.client.from_("backup_verify_turns")
                .select("next_slice")
                .match({"repository_id": repository_id, "scope": scope, "slices": slices})
                .execute()
                .data
            )
        )
        return int(rows[0]["next_slice"]) % slices if rows else 0

    def set_turn(self, repository_id: UUID, scope: str, slices: int, next_slice: int) -> None:
        """Let it be the next."""
        self._upsert(
            "backup_verify_turns",
            {
                "repository_id": str(repository_id),
                "scope": scope,
                "slices": slices,
                "next_slice": next_slice,
            },
            "repository_id,scope,slices",
        )

    def _upsert(self, table: str, values: dict[str, Any], key: str) -> None:
        self._api.retried(
            lambda _: self._api.client.from_(table).upsert(values, on_conflict=key).execute()
        )


def _json(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else to_jsonable_python(value)
