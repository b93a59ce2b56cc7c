"""One run of the backup flow: its row, its lease, and how often it may plan again."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from uuid import UUID

from prefect import get_run_logger
from prefect.runtime import flow_run
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from convault.adoption import require_ours
from convault.catalog import BackupRecord, BackupStatus, Catalog, Lease, open_catalog
from convault.cluster import require_cluster
from convault.commit import record_failure
from convault.deadline import Deadline
from convault.encryption.objects import Encryptor
from convault.errors import ConvaultError, LeaseLost, SnapshotLost, SourceUnavailable
from convault.files.wanted import FilesWanted
from convault.installation import Installation, open_installation
from convault.models import BackupOptions, TableName
from convault.progress import report
from convault.ranges.parent import Parentage, Policy
from convault.ranges.row_digest import Counted
from convault.retention.shrinkage import shrunk_tables
from convault.retention.usual import rows_before
from convault.settings import load_settings
from convault.sources.base import Snapshot
from flows.slots import backup_of_slot
from flows.stopping import finished_first, stop_behind
from tasks.begin import begin
from tasks.boundary import unexpected
from tasks.copy_files import FileWork
from tasks.find_parent import find_parent
from tasks.load import Load
from tasks.reconcile import reconcile
from tasks.tally import Tally

MAX_REPLANS = 2
"""how often a run whose snapshot was lost plans again under a new one"""


class Uneventful(logging.Filter):
    """Drops what Prefect says of each task that came to its end as it should: a large backup has a
    thousand of them, and Prefect Cloud takes a few hundred lines a minute."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        return not record.getMessage().startswith("Finished in state Completed")


def few_lines() -> None:
    """May be repeated."""
    logger = logging.getLogger("prefect.task_runs")
    if not any(isinstance(present, Uneventful) for present in logger.filters):
        logger.addFilter(Uneventful())


class Run:
    """A backup that is being made. `record` is its row once it is complete."""

    def __init__(self, backup_id: UUID | None, options: BackupOptions) -> None:
        few_lines()
        self.options = options
        self.tally = Tally()
        self.record: BackupRecord | None = None
        self.settings = load_settings()
        self.deadline = Deadline(self.settings.convault_max_hours)
        self.catalog: Load[Catalog] = Load("catalog", open_catalog(self.settings.catalog_url()))
        self.backup_id = backup_id or backup_of_slot(self.catalog.content)
        self.lease: Load[Lease]
        self.encryptor: Encryptor | None = None
        """set by `recorded`; None for a plain backup"""
        self.files_wanted: Load[FilesWanted] | None = None
        self.file_work: Load[FileWork] | None = None
        """set by `recorded`, as the one before; None for a backup without files"""
        self._installation: Installation | None = None

    @property
    def installation(self) -> Installation:
        """Opened by `recorded`."""
        assert self._installation is not None
        return self._installation

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """The row is `processing` and leased inside the block, and never left at that: an error
        that leaves the block makes it `failed`, with a message and what was done so far.

        Before anything is made, the catalog is put right from the manifests.
        """
        flow_run_id = flow_run.id
        self.lease = begin(
            self.catalog, self.options, self.backup_id, UUID(flow_run_id) if flow_run_id else None
        )
        held = self.lease.content
        # What is recorded is recorded in time; that it was not is recorded all the same.
        self.lease = Load(str(self.lease), self.deadline.limiting(held))
        with held:
            try:
                self._installation = open_installation(self.settings)
                self.installation.repository.require_current()
                require_ours(self.installation.repository, self.catalog.content)
                reconcile(self.installation.repository, self.catalog)
                self._find_complete()
                self._prepare()
                yield
            except BaseException as error:
                stop = stop_behind(error)
                if self.record is None:
                    with finished_first():  # who told us to stop may tell it twice
                        self._fail(stop or error, held)
                if stop is not None and stop is not error:
                    raise stop from None
                if self.record is None or stop is not None:
                    raise
        if self.record is not None:
            self.record = self.record.model_copy(update={"lease_expires_at": None})  # given back

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """One try under one snapshot. When the snapshot is lost the block ends without an error, at
        most MAX_REPLANS times; nothing of that snapshot may be used afterwards."""
        try:
            yield
        except ConvaultError as error:
            if self.deadline.expired and not isinstance(error, LeaseLost):
                raise self.deadline.error() from None
            if not isinstance(error, SnapshotLost):
                raise
            if self.tally.replans == MAX_REPLANS:
                raise
            self.tally.replans += 1
            get_run_logger().warning(
                "The snapshot was lost; planning again under a new one (%s of %s).",
                self.tally.replans,
                MAX_REPLANS,
            )

    @contextmanager
    def snapshot(self) -> Iterator[Load[Snapshot]]:
        """Hold a snapshot of the source. Only taking it is tried again when the source cannot be
        reached; a lock that could not be had is not, because those who wait for a lock make others
        wait."""
        source = self.installation.source(self.options)
        taking = Retrying(
            retry=retry_if_exception_type(SourceUnavailable),
            stop=stop_after_attempt(3),
            wait=wait_exponential(multiplier=1, max=10) + wait_random(0, 1),
            reraise=True,
        )
        with ExitStack() as stack:
            report("snapshot", "locking the tables")
            with self.tally.timed("snapshot"):
                taken = taking(lambda: stack.enter_context(source.snapshot()))
            self.tally.see(taken)
            for warning in taken.warnings:
                get_run_logger().warning("%s", warning)
            stack.enter_context(self.deadline.letting_go(taken.let_go))
            yield Load(f"snapshot {taken.facts.snapshot}", taken)

    def see_again(self, snapshot: Snapshot) -> None:
        """What a source without a snapshot only knows when all is read."""
        before = set(self.tally.warnings)
        self.tally.see(snapshot)
        for warning in self.tally.warnings:
            if warning not in before:
                get_run_logger().warning("%s", warning)

    def compare(self, counts: Mapping[TableName, Counted]) -> None:
        """Warn of each table that has less than half of the rows that were usual in backups of the
        same kind."""
        rows = {str(table): counted.rows for table, counted in counts.items()}
        before = rows_before(
            self.catalog.content, self.installation.repository, self.backup_id, self.options
        )
        found = shrunk_tables(rows, before)
        self.tally.compare(rows, found)
        for table in found:
            warning = (
                f"{table}. If that is right, say so with `convault acknowledge {self.backup_id}`; "
                "until then no backup of this kind is removed by a clean-up."
            )
            self.tally.warn(warning)
            get_run_logger().warning("%s", warning)

    def parentage(self) -> Load[Parentage]:
        """Of which earlier backup ranges may be taken over. Asked anew for each snapshot."""
        settings = self.settings
        return find_parent(
            self.installation.repository,
            self.catalog,
            self.options,
            Load("signing keys", self.installation.signing),
            self.encryptor,
            Policy(settings.convault_full_every, settings.convault_full_days),
        )

    def _find_complete(self) -> None:
        """An earlier run of the same backup may have been killed after it wrote the manifest."""
        row = self.catalog.content.get(self.backup_id)
        if row.status is BackupStatus.COMPLETED:
            self.record = row

    def _prepare(self) -> None:
        """Decide whether the backup is encrypted, and to whom; say what it will not be; and see to
        it that the store takes no more than it may hold."""
        if self.record is not None:
            return
        require_cluster(self.settings)
        self._installation = self.installation.limited()
        self.encryptor = self.installation.encryptor()
        wanted = self.installation.files(self.options)
        if wanted is not None:
            self.files_wanted = Load("files", wanted)
            work = FileWork(wanted, self.installation, self.encryptor, self.deadline.check)
            self.file_work = Load("files", work)
        for warning in unsecured(self.installation, self.encryptor):
            self.tally.warn(warning)
            get_run_logger().warning("%s", warning)

    def _fail(self, error: BaseException, held: Lease) -> None:
        """Say so in the row; or, when the manifest was written after all, that it is complete."""
        if isinstance(error, LeaseLost):
            return  # the row is somebody else's now
        message = told(error)
        metrics = {**self.tally.metrics(), "error_code": code_of(error)}
        catalog = self.catalog.content
        try:
            held.check()
            if self._installation is None:
                row = catalog.update(
                    self.backup_id, status=BackupStatus.FAILED, error=message, metrics=metrics
                )
            else:
                repository = self._installation.repository
                row = record_failure(repository, catalog, self.backup_id, message, metrics=metrics)
        except ConvaultError as second:
            get_run_logger().warning(
                "The row of backup %s could not be set to failed (%s); the next backup does that.",
                self.backup_id,
                second.code,
            )
        else:
            if row.status is BackupStatus.COMPLETED and isinstance(error, Exception):
                self.record = row


def unsecured(installation: Installation, encryptor: Encryptor | None) -> Iterator[str]:
    """What whoever relies on the backup should know: that it is not signed, or that it is plain
    although others are not."""
    if not installation.signing:
        yield (
            "This backup is unsigned, because CONVAULT_SIGNING_KEY is not set: nobody can tell "
            "whether its manifest is changed later. `convault init` makes a key."
        )
    if encryptor is None and installation.catalog.recipients():
        yield (
            "This backup is not encrypted, because CONVAULT_ENCRYPTION is off: whoever reads the "
            "store can read its rows."
        )


def code_of(error: BaseException) -> str:
    """The kind of an error, which says nothing of what it is about."""
    if isinstance(error, ConvaultError):
        return error.code
    return ConvaultError.code if isinstance(error, Exception) else "stopped"


def told(error: BaseException) -> str:
    """What the row may say of an error: no secret and no row's value."""
    if isinstance(error, ConvaultError):
        return error.message
    if isinstance(error, Exception):
        return unexpected(error).message
    return "The run was cancelled, or its process was told to stop. Start a new backup."
