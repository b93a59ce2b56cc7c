"""One run of a copy: what was purged leaves it, what is missing travels, what was deleted follows,
and the catalog remembers what is there. The flow and the command are made of these steps.

Killed anywhere, the copy holds whole backups, and objects that nothing names yet; the next run
finds these, proves them, and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID, uuid5

from convault.catalog.base import (
    AuditEntry,
    BackupRecord,
    BackupStatus,
    Catalog,
    CopyRecord,
    Guard,
    Held,
)
from convault.errors import (
    CatalogError,
    CatalogUnavailable,
    ConvaultError,
    CopyError,
    IntegrityError,
    RepositoryError,
    SweepRefused,
)
from convault.installation import Installation
from convault.loading import read_attempts
from convault.manifest import Manifest
from convault.progress import report
from convault.replication.carrying import Carrier
from convault.replication.following import Leaving
from convault.replication.keeping import Kept, keep
from convault.replication.place import lock_of, open_copy
from convault.replication.planning import Plan, Seen, plan
from convault.replication.replicated import Fault, Replicated
from convault.replication.transport import Proven, Transport
from convault.replication.wanted import CopyWanted
from convault.repository import Repository
from convault.retention.audited import Actor
from convault.retention.clocks import disagreement, other_clocks
from convault.trash import trashed


class Replication:
    """A copy that is brought up to date."""

    def __init__(
        self,
        installation: Installation,
        wanted: CopyWanted,
        actor: Actor,
        *,
        new: bool = False,
        check: bool = False,
    ) -> None:
        """Open both places, and plan. `new`: an empty place is begun anew, whatever was there once;
        `check`: everything in the copy is read and proven again. Changes nothing but to make an
        empty place a copy. The errors of `place.open_copy`."""
        self.wanted = wanted
        self._actor = actor
        self._check = check
        self.first: Repository = installation.repository
        self.catalog: Catalog = installation.catalog
        self._keys = installation.signing
        self._started = self.catalog.now()
        self._carrier: Carrier | None = None
        try:
            self._open(installation, new=new)
        except ConvaultError as error:
            self.catalog.save_copy(self._record().model_copy(update={"error": error.message}))
            raise

    def _open(self, installation: Installation, *, new: bool) -> None:
        wanted, before = self.wanted, {} if new else self._record().contents
        held_once = bool(before)
        copy = open_copy(self.first, self.catalog, wanted.name, wanted.url, known=held_once)
        self.copy = installation.paced(copy)
        self._read_rows()
        self.plan = self._planned()
        self._kept = self._keep()
        passed_over = self._kept.passed_over if self._kept else frozenset()
        pending = tuple(one for one in self.plan.copying if one not in passed_over)
        self.done = Replicated(
            wanted.name, self.copy.store.url, pending,
            passed_over=tuple(sorted(passed_over)), unexplained=self.plan.unexplained,
        )  # fmt: skip
        self._compare(before)

    def _read_rows(self) -> None:
        self.rows: Mapping[UUID, BackupRecord] = {
            row.id: row
            for row in self.catalog.list()
            if row.repository_id == self.first.repository_id
        }

    def _compare(self, before: Mapping[UUID, Held]) -> None:
        """What an earlier run left on its way, and what the copy had and lacks now."""
        seen = _seen(self.copy)
        gone = before.keys() - seen.revisions.keys() - seen.trashed - set(self.done.pending)
        self._remnants = {i for i in gone if before[i].state == "arriving" and i in self.rows}
        self._vanished = {
            backup_id: before[backup_id]
            for backup_id in gone & self.rows.keys()
            if before[backup_id].state == "held" and self._must_stay(self.rows[backup_id])
        }

    def _must_stay(self, row: BackupRecord) -> bool:
        """Whether the copy is where a backup is that it had: not one that was purged, nor one that
        was deleted where deletions follow, nor one that its rules would not fetch again."""
        deleted = row.status is BackupStatus.DELETED
        if row.id in self.done.passed_over or (deleted and row.purged_at is not None):
            return False
        return not (deleted and self.wanted.rules is None)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """What the copy holds is written down before and after the block, with the error that
        leaves it."""
        changes = {
            "url": self.copy.store.url,
            "mirror": self.wanted.rules is None,
            "contents": self._contents(arriving=True),
            "error": None,
        }
        record = self._record().model_copy(update=changes)
        self.catalog.save_copy(record)
        try:
            yield
            self.done.require_complete()
        except ConvaultError as error:
            self._conclude(record, error)
            raise
        except BaseException:
            self._conclude(record, ConvaultError("The run was cancelled, or told to stop."))
            raise
        self._conclude(record, None)

    def purge(self) -> None:
        """Erase from the copy what was purged. BusyError while another run writes there;
        SweepRefused, LeaseLost, StoreError, CatalogError."""
        if not self.plan.purging:
            return
        with self._told(), self.catalog.guard(lock_of(self.copy), alone=True) as guard:
            self.copy.require_same_writer()
            erased = self._leaving.purge(guard, self.plan.purging)
        self.done.purged += erased
        for one in erased:
            self._audit("purge", f"erased {len(one.erased)} objects", one.backup_id)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nobody removes anything from the copy inside the block."""
        with self.catalog.guard(lock_of(self.copy)) as guard:
            self.copy.require_same_writer()
            self._carrier = self._new_carrier(guard)
            yield

    def copy_one(self, backup_id: UUID) -> None:
        """Bring one of `done.pending` into the copy, inside `writing`; what is wrong with it in the
        first repository is noted, and no error. May be repeated. CopyError, LeaseLost,
        StoreError."""
        assert self._carrier is not None
        number = self.done.pending.index(backup_id)
        report("copy", str(backup_id), done=number, total=len(self.done.pending), unit="backups")
        try:
            brought = self._carrier.carry(backup_id)
        except (IntegrityError, RepositoryError) as error:
            self.done.faults.append(Fault(backup_id, error.message))
            return
        if brought is not None:
            self.done.copied.append(backup_id)
            self.done.brought += brought

    def follow(self) -> None:
        """Let what was deleted, or what the copy's rules do not keep, go to its trash; then sweep
        the copy. Neither where a backup could not be copied: what the copy holds may be all there
        is of it. The errors of `purge`."""
        if self.done.faults:
            return
        leaving = self._kept.leaving if self._kept else ()
        self._read_rows()  # copying may have taken hours
        lost = set(self.done.pending) - set(self.done.copied)
        self._remnants |= lost
        # Those that were deleted on their way were counted among those that stay.
        ids = [i for i in (*self.plan.leaving, *(() if lost else self.own_leaving))
               if i not in self.rows or self.rows[i].pinned is None]  # fmt: skip
        reasons = {decision.backup.id: decision.reason for decision in leaving}
        try:
            guard = self.catalog.guard(lock_of(self.copy), alone=True)
        except CatalogUnavailable:
            raise
        except CatalogError:
            if ids or self._remnants:
                raise
            return  # by the Data API nothing can be removed, and nothing has to be
        with self._told(), guard:
            self.copy.require_same_writer()
            if self.wanted.rules is not None:
                self._leaving.take_back_pinned(guard)
            self._leaving.leave(guard, ids)
            self.done.left += ids
            if ids:  # before they may leave the trash: or a run that is killed then seems a loss
                known = self._record().model_copy(update={"contents": self._contents()})
                self.catalog.save_copy(known)
            if self._remnants:
                count = self._leaving.erase_remnants(guard, self._remnants)
                self._audit("sweep", f"erased {count} objects of backups that never arrived")
                self._remnants.clear()
            self.done.swept = self._leaving.sweep(
                guard, grace=self.wanted.grace, trash=self.wanted.trash
            )
        for backup_id in ids:
            why = reasons.get(backup_id, "it was deleted from the first repository")
            self._audit("delete", why, backup_id)

    @property
    def own_leaving(self) -> tuple[UUID, ...]:
        """Backups that the copy's own rules let go; none where it has no rules."""
        return tuple(d.backup.id for d in self._kept.leaving) if self._kept else ()

    @property
    def _leaving(self) -> Leaving:
        return Leaving(self.copy, self.catalog, self.rows, self._vanished)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A refusal to remove says what puts it right."""
        try:
            yield
        except SweepRefused as error:
            told = error.message.replace("convault copy", f"convault copy --to {self.wanted.name}")
            if "key" in error.ids:  # not where it is the clocks
                told += (
                    f" In a copy, `convault copy --to {self.wanted.name} --check` puts right what "
                    "the first repository still holds."
                )
            raise CopyError(told) from None

    def _planned(self) -> Plan:
        found = plan(
            _seen(self.first, with_trash=False),
            _seen(self.copy),
            self.rows,
            mirror=self.wanted.rules is None,
        )
        if not self._check:
            return found
        everything = plan(
            _seen(self.first, with_trash=False), Seen({}), self.rows, mirror=False
        ).copying
        return Plan(everything, found.purging, found.leaving, found.unexplained)

    def _keep(self) -> Kept | None:
        rules = self.wanted.rules
        if rules is None:
            return None
        held = dict(self.copy.manifests())
        seen = self.first.revisions()
        if held and not held.keys() & seen.keys():
            # What the copy holds may be all that is left of it.
            return Kept((), frozenset())
        lacking: dict[UUID, Manifest | ConvaultError] = {}
        for backup_id in self.plan.copying:
            if backup_id not in held:
                try:
                    lacking[backup_id] = self.first.manifest(backup_id)
                except RepositoryError as error:
                    lacking[backup_id] = error
        now = self.catalog.now()
        clocks = disagreement(now, other_clocks(self.copy))
        return keep(rules, held, lacking, self.rows, now, self.wanted.zone, clocks)

    def _new_carrier(self, guard: Guard) -> Carrier:
        there = [] if self._check else sorted(self.copy.backup_ids(), key=self._age, reverse=True)
        listed = {info.key: info.size for info in self.copy.store.list()}
        transport = Transport(
            self.first.store, self.copy, Proven(self.copy, there), listed, self.wanted.workers
        )
        return Carrier(self.first, self.copy, transport, self.rows, self._keys, guard)

    def _age(self, backup_id: UUID) -> float:
        row = self.rows.get(backup_id)
        return 0.0 if row is None else row.created_at.timestamp()

    def _contents(self, *, arriving: bool = False) -> dict[UUID, Held]:
        """As it is listed now."""
        seen = _seen(self.copy)
        found = {one: Held(state="passed over") for one in self.done.passed_over}
        if arriving:
            found |= {one: Held(state="arriving") for one in self.done.pending}
        found |= {one: Held(state="arriving") for one in self._remnants}
        found |= self._vanished
        found |= {one: Held(state="trashed") for one in seen.trashed}
        found |= {one: Held(state="held", revision=n) for one, n in seen.revisions.items()}
        return found

    def _conclude(self, record: CopyRecord, error: ConvaultError | None) -> None:
        changes: dict[str, object] = {}
        try:
            # What was on its way when it failed may be there in part.
            changes["contents"] = self._contents(arriving=error is not None)
        except ConvaultError as second:
            error = error or second  # what was written before stands
        changes["error"] = None if error is None else error.message
        if error is None:
            changes["succeeded_at"] = self.catalog.now()
        self.catalog.save_copy(record.model_copy(update=changes))
        done = self.done
        self._audit(
            "copy",
            f"{len(done.copied)} backups, {done.brought.bytes} bytes copied; {len(done.left)} "
            f"deleted, {len(done.purged)} purged there",
            result="done" if error is None else error.code,
        )

    def _record(self) -> CopyRecord:
        """As it is in the catalog, of a run that begins; a new one for a copy that is new."""
        known = self.catalog.copies(self.first.repository_id)
        record = next((one for one in known if one.name == self.wanted.name), None)
        if record is None:
            record = CopyRecord(
                id=uuid5(self.first.repository_id, f"copy {self.wanted.name}"),
                repository_id=self.first.repository_id, name=self.wanted.name, url="",
            )  # fmt: skip
        return record.model_copy(update={"started_at": self._started})

    def _audit(
        self, action: str, detail: str, backup_id: UUID | None = None, result: str = "done"
    ) -> None:
        self.catalog.audit(
            AuditEntry(
                actor=self._actor.name, origin=self._actor.origin, action=action,
                backup_id=backup_id, result=result, detail=f"copy {self.wanted.name}: {detail}",
            )
        )  # fmt: skip


def replicate(replication: Replication) -> Replicated:
    """All of it. CopyIncomplete when a backup could not be copied; the errors of the steps."""
    with replication.recorded():
        replication.purge()
        with replication.writing():
            for backup_id in replication.done.pending:
                for attempt in read_attempts():
                    with attempt:
                        replication.copy_one(backup_id)
        replication.follow()
    return replication.done


def _seen(repository: Repository, *, with_trash: bool = True) -> Seen:
    """Backups first: one that is deleted meanwhile is then in both."""
    revisions = repository.revisions()
    deleted = frozenset(trashed(repository)) - revisions.keys() if with_trash else frozenset()
    return Seen(revisions, deleted)
