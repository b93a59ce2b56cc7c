"""The sweep: what nobody needs is marked, and removed when it was not needed for long enough.

All of it happens while nobody writes (`Catalog.guard`, alone): no backup is between reusing an
object and writing the manifest that names it. The grace period is there for what a lock cannot see:
a run that lost its session and does not know it yet, another machine with an older copy of the
catalog.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from convault import layout
from convault.adoption import require_ours
from convault.catalog.base import AuditEntry, BackupRecord, BackupStatus, Catalog, Guard
from convault.errors import NotFoundError, ObjectMissing, RepositoryError
from convault.progress import report
from convault.repository import Repository
from convault.retention import marks
from convault.retention.audited import Actor, audited
from convault.retention.clocks import MOST
from convault.retention.garbage import Garbage, survey
from convault.retention.operating import mark_deleted
from convault.trash import trashed

_BATCH = 200
"""objects removed between two proofs that the lock is held"""
_PHASE_SECONDS = 300.0
"""after which the rest waits for the next sweep: backups that begin wait meanwhile"""
_REMOVERS = 8


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, or would."""

    dry_run: bool
    expired: tuple[UUID, ...]
    """backups that left the trash for good"""
    marked: int
    """objects that nothing names and that wait"""
    removed: int
    removed_bytes: int
    left: int = 0
    """that are due, and wait for the next sweep because this one took long enough"""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "dryRun": self.dry_run,
            "expired": [str(backup_id) for backup_id in self.expired],
            "marked": self.marked,
            "removedObjects": self.removed,
            "removedBytes": self.removed_bytes,
            "left": self.left,
        }


def sweep(
    repository: Repository,
    catalog: Catalog,
    actor: Actor,
    *,
    grace: timedelta,
    trash: timedelta,
    dry_run: bool = False,
) -> Swept:
    """Empty the trash of what lies there for longer than `trash`, mark what nothing names, and
    remove what was marked for longer than `grace`. Killed anywhere, nothing that is needed is gone,
    and the next sweep goes on. SweepRefused, NotAdopted, BusyError, LeaseLost, StoreError,
    CatalogError."""
    with audited(catalog, actor, "sweep") as note:
        require_ours(repository, catalog)
        with catalog.guard(repository.repository_id, alone=True) as guard:
            repository.require_same_writer()
            found = sweep_alone(
                repository,
                guard,
                lambda: survey(repository, catalog),
                {row.id: row for row in catalog.list()},
                lambda expired: _forget(catalog, expired),
                grace=grace,
                trash=trash,
                dry_run=dry_run,
            )
        for backup_id in () if dry_run else found.expired:
            catalog.audit(
                AuditEntry(
                    actor=actor.name, origin=actor.origin, action="purge", backup_id=backup_id,
                    result="done", detail="its time in the trash was over",
                )
            )  # fmt: skip
        note.detail = (
            f"{'would remove' if dry_run else 'removed'} {found.removed} objects of "
            f"{found.removed_bytes} bytes, {found.marked} wait, {len(found.expired)} left the trash"
        )
        return found


def sweep_alone(
    repository: Repository,
    guard: Guard,
    look: Callable[[], Garbage],
    rows: Mapping[UUID, BackupRecord],
    forget: Callable[[Sequence[UUID]], None],
    *,
    grace: timedelta,
    trash: timedelta,
    dry_run: bool = False,
) -> Swept:
    """The sweep of a repository that `guard` keeps everybody else out of. `look` tells what is
    garbage now; `rows` may keep backups in the trash for longer; `forget` is called before the
    manifests of those that expired are removed. The errors of these, and StoreError."""
    garbage = look()
    expired = _expired(repository, rows, garbage.now, trash)
    if not dry_run:
        forget(expired)
        _empty(repository, guard, expired)
        if expired:
            garbage = look()
    marked = marks.renewed(marks.read(repository), garbage)
    due = marks.due(marked, garbage.now, grace)
    done: Sequence[str] = due
    if not dry_run:
        marks.write(repository, marked)
        done = remove(repository, guard, due)
        _remove_probes(repository, garbage)
    return Swept(
        dry_run,
        tuple(expired),
        len(marked) - len(due),
        len(done),
        sum(garbage.listing[key].size for key in done),
        len(due) - len(done),
    )


def remove(repository: Repository, guard: Guard, keys: Sequence[str]) -> Sequence[str]:
    """Delete objects, proving the lock before each batch; those that it came to."""
    begun = time.monotonic()
    done: list[str] = []
    with ThreadPoolExecutor(_REMOVERS, thread_name_prefix="remove") as pool:
        while len(done) < len(keys) and time.monotonic() - begun < _PHASE_SECONDS:
            guard.check()
            batch = keys[len(done) : len(done) + _BATCH]
            list(pool.map(repository.store.delete, batch))
            done += batch
            report("sweep", batch[-1], done=len(done), total=len(keys), unit="objects")
    return done


def _expired(
    repository: Repository, rows: Mapping[UUID, BackupRecord], now: datetime, trash: timedelta
) -> list[UUID]:
    """Backups whose time in the trash is over, by the later of the two clocks that tell when they
    came there; not those that are pinned, or exist."""
    there = set(repository.backup_ids())
    found = []
    for backup_id, since in trashed(repository).items():
        row = rows.get(backup_id)
        if backup_id in there or (row is not None and row.pinned is not None):
            continue
        deleted = row.deleted_at if row is not None and row.deleted_at is not None else since
        if now - max(since, deleted) >= trash:
            found.append(backup_id)
    return sorted(found)


def _empty(repository: Repository, guard: Guard, expired: Sequence[UUID]) -> None:
    """Remove their manifests for good, and copies in the trash of backups that were taken back."""
    there = set(repository.backup_ids())
    taken_back = [backup_id for backup_id in trashed(repository) if backup_id in there]
    for backup_id in [*taken_back, *expired]:
        guard.check()
        repository.store.delete(layout.trash_key(backup_id))
    repository.store.flush()


def _forget(catalog: Catalog, expired: Sequence[UUID]) -> None:
    for backup_id in expired:
        mark_deleted(catalog, backup_id)


def _remove_probes(repository: Repository, garbage: Garbage) -> None:
    """Objects that a run asked the store's clock with, and was killed."""
    for key in garbage.listing:
        if key.startswith(f"{layout.SWEEP}clock-"):
            repository.store.delete(key)


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge erased, and what of the backup is still there."""

    backup_id: UUID
    store: str
    erased: tuple[str, ...]
    """keys"""
    erased_bytes: int
    shared: tuple[str, ...]
    """objects of the backup that others need: same bytes, so the same rows"""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "backup": str(self.backup_id),
            "store": self.store,
            "erased": list(self.erased),
            "erasedBytes": self.erased_bytes,
            "stillNeededByOthers": list(self.shared),
        }


def purge(repository: Repository, catalog: Catalog, backup_id: UUID, actor: Actor) -> Purged:
    """Erase a deleted backup at once: its manifests, then every object that only it names, damaged
    copies of them too. Killed after the manifests, what is left is garbage for the next sweeps.

    Of a run that failed, which has no manifest, what nothing names and was stored since it began.
    NotFoundError when it is not in the trash; SweepRefused, NotAdopted, BusyError, LeaseLost,
    StoreError, CatalogError."""
    with audited(catalog, actor, "purge", backup_id) as note:
        require_ours(repository, catalog)
        with catalog.guard(repository.repository_id, alone=True) as guard:
            repository.require_same_writer()
            begun = _begun(catalog, backup_id)
            named = set() if begun else named_by(repository, backup_id)
            garbage = survey(repository, catalog, without=[backup_id])
            if begun:
                named = {k for k in garbage.unneeded if garbage.listing[k].modified >= begun}
            mark_deleted(catalog, backup_id, purged=True)
            erased = erase(repository, guard, garbage, backup_id, named)
        note.detail = f"erased {len(erased.erased) - 1} objects and the manifest"
        return erased


def erase(
    repository: Repository, guard: Guard, garbage: Garbage, backup_id: UUID, named: set[str]
) -> Purged:
    """Remove a backup's manifest from the trash, and then every object that only it names;
    `garbage` was looked for as if it were gone, `named` is what its manifests name. LeaseLost,
    StoreError."""
    guard.check()
    repository.store.delete(layout.trash_key(backup_id))
    repository.store.flush()
    alone = sorted(key for key in garbage.unneeded if _is_of(key, backup_id, named))
    copies = [
        key for key in garbage.listing for mine in alone
        if key.startswith(f"{layout.DAMAGED}{mine}/")
    ]  # fmt: skip
    done = remove(repository, guard, [*alone, *copies])
    return Purged(
        backup_id,
        repository.store.url,
        (layout.trash_key(backup_id), *done),
        sum(garbage.listing[key].size for key in done),
        tuple(sorted(named & garbage.listing.keys() - set(done))),
    )


def _begun(catalog: Catalog, backup_id: UUID) -> datetime | None:
    """When a run began that failed, and whose row is deleted; None for a backup that was complete.
    A clock that is off by as much as a sweep allows is allowed for."""
    try:
        row = catalog.get(backup_id)
    except NotFoundError:
        return None
    failed = row.status is BackupStatus.DELETED and row.completed_at is None
    return (row.started_at or row.created_at) - MOST if failed else None


def named_by(repository: Repository, backup_id: UUID) -> set[str]:
    """Keys that any revision of a deleted backup's manifest names."""
    if backup_id in repository.backup_ids() or backup_id not in trashed(repository):
        raise NotFoundError(
            f"Backup {backup_id} is not in the trash of {repository.store.url}: it exists, or is "
            "gone for good.",
            backup=backup_id,
        )
    found: set[str] = set()
    for number in range(1, repository.revision(backup_id) + 1):
        key = layout.trash_key(backup_id) if number == 1 else layout.manifest_key(backup_id, number)
        try:
            data = repository.store.get(key)
            found.update(repository.read_manifest(backup_id, data, number).objects())
        except (ObjectMissing, RepositoryError):
            # A number that was left out; or one that nobody can read, whose objects become garbage
            # that the next sweeps find.
            continue
    return found


def _is_of(key: str, backup_id: UUID, named: set[str]) -> bool:
    revision = layout.revision_of(key)
    beside = layout.beside(key) if revision is None else revision[0]
    return key in named or beside == backup_id
