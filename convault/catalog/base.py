"""The protocol of a catalog: the `backups` table and its neighbours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from convault.errors import BusyError
from convault.incidents import Incident, Notice
from convault.schedule import BackupSchedule


class BackupStatus(StrEnum):
    """How far a backup is."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    DELETED = "deleted"
    """its manifest lies in the trash, or is gone for good"""


class BackupRecord(BaseModel):
    """A row of `backups`. Field names are the column names; times carry their zone."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    status: BackupStatus
    file_name: str | None = None
    file_size: int | None = None
    """exact bytes of the tar"""
    url: str | None = None
    """the download path, without a signature"""
    expires_at: datetime | None = None
    options: dict[str, Any]
    error: str | None = None
    created_at: datetime
    updated_at: datetime
    repository_id: UUID | None = None
    flow_run_id: UUID | None = None
    parent_id: UUID | None = None
    rows: int | None = None
    stored_bytes: int | None = None
    """bytes that this backup's parts take in the store"""
    revision: int = 1
    """of the manifest that the row follows"""
    metrics: dict[str, Any] | None = None
    lease_expires_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    manifest_sha256: str | None = None
    """of the manifest as it was committed, or as it was when it was first verified"""
    verified_at: datetime | None = None
    """when a drill restored it and no check failed; None when the last drill failed"""
    drill: dict[str, Any] | None = None
    """the report of the last drill"""
    deleted_at: datetime | None = None
    pinned: str | None = None
    """why it must stay, whatever a policy says"""
    acknowledged_at: datetime | None = None
    """since when its rows count as usual, though a table shrank"""
    requested_by: str | None = None
    """API key or user that asked for it; None for a schedule or the command line"""
    purged_at: datetime | None = None
    """when it was erased on demand, which copies have to follow"""


class Query(BaseModel):
    """Which rows of `backups` are asked for, newest first."""

    model_config = ConfigDict(frozen=True)

    status: BackupStatus | None = None
    """None: any but `deleted`"""
    format: str | None = None
    """of the options; rows of before there was a choice count as `json`"""
    requested_by: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    """exclusive"""
    after: tuple[datetime, UUID] | None = None
    """go on behind the row with this time of creation and id"""
    limit: int = 100


class Page(BaseModel):
    """Rows that were asked for."""

    model_config = ConfigDict(frozen=True)

    records: tuple[BackupRecord, ...]
    total: int
    """rows on all pages"""
    more: bool
    """whether there are rows behind the last of these"""


class Recipient(BaseModel):
    """A row of `backup_recipients`: somebody to whom backups are, or were, encrypted."""

    model_config = ConfigDict(frozen=True)

    public_key: str
    """`age1...`"""
    label: str = ""
    added_at: datetime
    retired_at: datetime | None = None
    """since when nothing is encrypted to it"""

    @property
    def active(self) -> bool:
        """Whether new backups are encrypted to it."""
        return self.retired_at is None


class Held(BaseModel):
    """What a copy of the repository has of one backup."""

    model_config = ConfigDict(frozen=True)

    state: Literal["held", "arriving", "trashed", "passed over"]
    """arriving: on its way, so that some of it may be there; passed over: the copy's own rules do
    not keep it, and nothing of it is there"""
    revision: int = 1
    """of its manifest"""


class CopyRecord(BaseModel):
    """A row of `backup_copies`: a copy of the repository, as the last run left it."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    repository_id: UUID
    name: str
    """of CONVAULT_STORE_<NAME>_URL, in lower case"""
    url: str
    """where it is, without credentials"""
    mirror: bool = True
    """whether it has no rules of its own, so that deletions follow"""
    contents: dict[UUID, Held] = {}
    started_at: datetime | None = None
    succeeded_at: datetime | None = None
    """when a run last came to its end and nothing was left to be done"""
    error: str | None = None
    """how the last run failed; None where it did not, or is at work"""


class AuditEntry(BaseModel):
    """A row of `backup_audit`: who did what, from where, and how it ended."""

    model_config = ConfigDict(frozen=True)

    at: datetime | None = None
    """the database's time; set when it is written"""
    actor: str
    """a user of the machine, the name of a key, `user:` and an id, or `schedule`"""
    origin: str
    """`cli`, `flow`, or `api` and the address of who called it"""
    action: str
    """delete, undelete, purge, pin, unpin, acknowledge, retain, sweep, adopt, copy; over the API
    also backup, link, restore, verify, drill, cancel, schedule, init"""
    backup_id: UUID | None = None
    result: str
    """`done`, or the code of an error"""
    detail: str = ""
    """for people; holds no row's value"""


class Guard(AbstractContextManager["Guard"], Protocol):
    """The right to write objects of a repository, together with others, or to remove them, alone;
    or to do something else alone. Ends with the block, or with its holder: over SQL at once, over
    the Data API, which does not see that one was killed, when its lease runs out."""

    def check(self) -> None:
        """LeaseLost unless it is proven held now (asks the database)."""


class Lease(AbstractContextManager["Lease"], Protocol):
    """The right of one run to commit one backup.

    Renewed in the background every 30 s; over 90 s after the last renewal, by the database's clock.
    Leaving the block gives it back. While it is held, nobody removes objects of the repository
    (`Catalog.guard`).
    """

    def check(self) -> None:
        """LeaseLost unless the lease is proven held now (asks the database)."""


@runtime_checkable
class Catalog(Protocol):
    """Where it is written down which backups there are. The manifests decide; this follows.

    Every method may be repeated after a CatalogUnavailable (the only transient error). A row never
    leaves `completed`, `failed` or `deleted` except by `replace`.
    """

    def migrate(self) -> list[str]:
        """Apply the migrations that are missing, in order, one transaction each; returns their
        names. Two at once are safe."""

    def missing_migrations(self) -> list[str]:
        """Names of those that are not applied. Changes nothing."""

    def exclusive(self, name: str, busy: BusyError, *, seconds: float | None = None) -> Guard:
        """Keep out, for a block, whoever else asks for `name`, on any machine and whichever way
        they reach the catalog. `busy` when somebody has it for longer than `seconds`, a moment
        unless told. A block that lost it goes on, and hears of it from `check` alone."""

    def repository_id(self) -> UUID | None:
        """The repository that the rows belong to, or None while `init` has not run."""

    def register_repository(self, repository_id: UUID, installation_id: UUID, url: str) -> None:
        """Remember it as the current one. `url` holds no credentials."""

    def installation_id(self) -> UUID | None:
        """Who this catalog is to the current repository: its marker names the one that may write
        (`convault.adoption`). None while `init` has not run."""

    def now(self) -> datetime:
        """The database's time: the one clock that says how old something is."""

    def guard(self, repository_id: UUID, *, alone: bool = False) -> Guard:
        """Keep out, for a block, whoever would remove objects; or, `alone`, everybody who writes
        some. BusyError."""

    def audit(self, entry: AuditEntry) -> None:
        """Write down who did what."""

    def audited(self, limit: int = 100) -> Sequence[AuditEntry]:
        """What was written down, newest first."""

    def add(self, record: BackupRecord, *, keep_times: bool = False) -> BackupRecord:
        """Insert a row (created_at and updated_at are the database's, unless the record's are to be
        kept); returns it as stored. Inserting the same id again returns the row that is there."""

    def get(self, backup_id: UUID) -> BackupRecord:
        """NotFoundError."""

    def list(
        self, *, status: BackupStatus | None = None, limit: int | None = None
    ) -> list[BackupRecord]:
        """Newest first."""

    def page(self, query: Query) -> Page:
        """Some of the rows, and how many there are."""

    def begin(
        self, backup_id: UUID, options: dict[str, Any], flow_run_id: UUID | None = None
    ) -> Lease:
        """Make the row `processing` (inserting it when it is not there) and take its lease.
        BusyError if another run holds it; CatalogError if it is already completed or failed, or no
        repository is registered."""

    def update(self, backup_id: UUID, **columns: Any) -> BackupRecord:
        """Set these columns (and updated_at). NotFoundError; CatalogError when this would take the
        row out of `completed`, `failed` or `deleted` (a failed one may become `completed`)."""

    def replace(self, seen: BackupRecord, **columns: Any) -> BackupRecord | None:
        """Set these columns if nobody changed the row since it was `seen`, whatever its status;
        None, and nothing changed, when somebody did. For `reconcile`, and for moves into the trash
        and out of it."""

    def abandoned(self) -> Sequence[UUID]:
        """Ids of `processing` rows whose lease is over and whose lock is free."""

    def objects_read(self, repository_id: UUID) -> dict[str, datetime]:
        """By key: when an object's bytes were last read, and had their digest."""

    def record_read(
        self, repository_id: UUID, sound: Mapping[str, bool], gone: Collection[str] = ()
    ) -> None:
        """Remember that these objects were read just now, by key whether they had their digest, and
        forget those that are gone."""

    def turn(self, repository_id: UUID, scope: str, slices: int) -> int:
        """Which of so many slices of the objects is to be read next, from 0. `scope`: a backup's
        id, or '' for all of them."""

    def set_turn(self, repository_id: UUID, scope: str, slices: int, next_slice: int) -> None:
        """Let `next_slice` be the next."""

    def incidents(self, limit: int = 200) -> Sequence[Incident]:
        """The rows of `backup_incidents`: open ones, then those that ended last."""

    def open_incident(self, notice: Notice, seen_at: datetime) -> bool:
        """Let an incident begin; False, and nothing changed, where one of that kind and subject is
        open, or ended after `seen_at`, the catalog's time when the caller looked."""

    def close_incident(self, incident_id: UUID, seen_at: datetime) -> bool:
        """Let it end; False, and nothing changed, when it has, or began after `seen_at`."""

    def claim_incident(self, incident_id: UUID, *, recovery: bool, seconds: float) -> bool:
        """Whether the caller is, for so many seconds, the one to tell somebody of it: that it
        began, or (`recovery`) that it is over. False when somebody else is, or has, or it is
        too early to try again. Where an answer was lost, nobody is until the seconds are over."""

    def told_incident(
        self, incident_id: UUID, *, recovery: bool, told_to: tuple[str, ...], done: bool,
        problem: str = "", seconds: float = 0.0,
    ) -> None:  # fmt: skip
        """Write down how telling ended: which channels know now, and whether these are all
        (`done`); otherwise it may be claimed again after `seconds`."""

    def schedules(self) -> Sequence[BackupSchedule]:
        """The rows of `backup_schedules`, by name."""

    def save_schedule(self, schedule: BackupSchedule) -> None:
        """Insert the row, or set what it says where its id is there."""

    def delete_schedule(self, schedule_id: UUID) -> None:
        """Remove the row, if there is one."""

    def copies(self, repository_id: UUID) -> Sequence[CopyRecord]:
        """The copies of a repository, by name."""

    def save_copy(self, copy: CopyRecord) -> None:
        """Insert the row, or set what it says where its id is there."""

    def recipients(self) -> Sequence[Recipient]:
        """Everybody to whom backups are, or were, encrypted, in the order they were added."""

    def add_recipient(self, public_key: str, label: str = "") -> Recipient:
        """Encrypt new backups to this key; one that was retired is active again. Adding an active
        one changes nothing but its label, if a new one is given."""

    def retire_recipient(self, public_key: str, *, last: bool = False) -> Recipient:
        """Encrypt nothing to this key any more. NotFoundError for one that is not known; BusyError
        never: of two at once one is last. EncryptionError when it is the only active one, unless
        `last`. Retiring a retired one changes nothing."""

    def remember_recipients(self, public_keys: Sequence[str], label: str) -> Sequence[str]:
        """Write down, as retired, those that are not known: they were found in a manifest, and
        whoever can write manifests must not be able to have backups encrypted to themselves.
        Returns those that are new."""
