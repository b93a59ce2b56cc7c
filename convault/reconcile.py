"""The manifests decide, the catalog follows: what `init` and every backup put right in the rows.

Killed runs, lost answers and emptied catalogs leave rows that say something else than the
repository. `decide` is the whole rule and pure; `reconcile` asks, decides and writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from convault.archive.composed import Archive
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.commit import completed_columns
from convault.encryption.recipients import learn
from convault.errors import NotFoundError, ObjectMissing, RepositoryError
from convault.per_page import told_of
from convault.repository import Repository
from convault.trash import trashed


class ChangeKind(StrEnum):
    """What became of a row."""

    ADDED = "added"
    """a manifest had no row"""
    COMPLETED = "completed"
    """a row that said something else, and whose manifest exists"""
    REVISED = "revised"
    """a completed row of a manifest that a later revision superseded"""
    DELETED = "deleted"
    """a row whose manifest lies in the trash"""
    LOST = "lost"
    """a completed row whose manifest is gone: now failed"""
    INTERRUPTED = "interrupted"
    """a processing row whose run is gone, without a manifest: now failed"""
    UNREADABLE = "unreadable"
    """a manifest that cannot be read: its row, if any, was left alone"""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between a row and the repository."""

    kind: ChangeKind
    backup_id: UUID
    row: BackupRecord | None = None
    """as it was read before"""
    reason: str = ""
    """why a manifest cannot be read"""

    def __str__(self) -> str:
        says = {
            ChangeKind.ADDED: "is in the repository and now listed",
            ChangeKind.COMPLETED: f"is complete; its row said {self.row and self.row.status}",
            ChangeKind.REVISED: "has a later revision, which its row follows now",
            ChangeKind.DELETED: "lies in the trash; its row says so now",
            ChangeKind.LOST: "was completed, and its manifest is gone: now failed",
            ChangeKind.INTERRUPTED: "was interrupted: now failed",
            ChangeKind.UNREADABLE: f"cannot be read: {self.reason}",
        }
        return f"Backup {self.backup_id} {says[self.kind]}."


def decide(
    rows: Iterable[BackupRecord],
    manifests: Collection[UUID],
    abandoned: Collection[UUID],
    *,
    repository_id: UUID,
    revisions: Mapping[UUID, int] | None = None,
    trash: Collection[UUID] = (),
) -> list[Change]:
    """What must change, by rows, then new manifests. `trash`: ids of manifests that lie there.

    `manifests`: ids of the backups that have one. `revisions`: the highest of each, where it is not
    the first. `abandoned`: `processing` rows whose lease is
    over and whose lock is free. Rows of another repository are left alone. So are rows of none at
    all, which an application wrote before Convault came (`begin` always writes the repository),
    unless this repository holds their manifest. Pending rows without one are somebody's plan.
    """
    changes = []
    rowless = set(manifests)
    for row in rows:
        rowless.discard(row.id)
        kind = _fate(row, row.id in manifests, row.id in abandoned, repository_id)
        if kind is ChangeKind.LOST and row.id in trash:
            kind = ChangeKind.DELETED
        if kind is None and _is_behind(row, (revisions or {}).get(row.id), repository_id):
            kind = ChangeKind.REVISED
        if kind is not None:
            changes.append(Change(kind, row.id, row))
    return changes + [Change(ChangeKind.ADDED, backup_id) for backup_id in sorted(rowless)]


def _fate(
    row: BackupRecord, has_manifest: bool, abandoned: bool, repository_id: UUID
) -> ChangeKind | None:
    if row.repository_id not in {repository_id, None}:
        return None
    if has_manifest:
        # Also while its run is between the manifest and the row: it will write the same.
        return None if row.status is BackupStatus.COMPLETED else ChangeKind.COMPLETED
    if row.repository_id is None:
        return None
    if row.status is BackupStatus.COMPLETED:
        return ChangeKind.LOST
    if row.status is BackupStatus.PROCESSING and abandoned:
        return ChangeKind.INTERRUPTED
    return None


def _is_behind(row: BackupRecord, revision: int | None, repository_id: UUID) -> bool:
    return (
        row.status is BackupStatus.COMPLETED
        and row.repository_id == repository_id
        and revision is not None
        and row.revision < revision
    )


def reconcile(repository: Repository, catalog: Catalog, *, thorough: bool = False) -> list[Change]:
    """Make the rows agree with the manifests; what was changed, and which manifests cannot be read.

    Manifests are read where a row must follow them; with `thorough` also those of completed rows,
    which costs a read for every backup there is. Errors of the store or the catalog end it: a store
    that does not answer has lost nothing. May be repeated, and run while backups run.
    """
    # The rows are read first, then the leases, then the store. A backup only ever moves forward:
    # manifest, then row. So a row that was completed when it was read had its manifest before the
    # store was listed; one that is not listed is gone. And a run that was dead when its lease was
    # read can have written its manifest only before that. The other way round, a backup that
    # commits between listing and reading would be called lost, or a finished run interrupted. A row
    # that somebody changes meanwhile is not touched (`replace`): the next reconcile sees it.
    rows = catalog.list()
    abandoned = catalog.abandoned()
    manifests = repository.revisions()
    changes = decide(
        rows,
        set(manifests),
        set(abandoned),
        repository_id=repository.repository_id,
        revisions=manifests,
        # Behind the manifests: what is deleted meanwhile is in one of the two (`convault.trash`).
        trash=trashed(repository),
    )
    if any(change.kind is ChangeKind.LOST for change in changes):
        # A disk that was unmounted since the repository was opened lists nothing, without an error.
        Repository.open(repository.store, repository.repository_id)
    applied = (_apply(repository, catalog, change) for change in changes)
    done = [change for change in applied if change is not None]
    if thorough:
        ours = {repository.repository_id, None}
        completed = {r.id: r for r in rows if r.status is BackupStatus.COMPLETED}
        there = [completed[i] for i in manifests if i in completed]
        unreadable = (
            _unreadable(repository, catalog, row) for row in there if row.repository_id in ours
        )
        done += [change for change in unreadable if change is not None]
    return done


def _unreadable(repository: Repository, catalog: Catalog, row: BackupRecord) -> Change | None:
    """Said of a completed row whose manifest cannot be read; its row stays: the manifest may be put
    back. To whom a readable one is encrypted is learned."""
    try:
        learn(catalog, repository.manifest(row.id))
    except RepositoryError as error:
        return Change(ChangeKind.UNREADABLE, row.id, row, error.message)
    except NotFoundError:
        return None  # removed since it was listed
    return None


def _apply(repository: Repository, catalog: Catalog, change: Change) -> Change | None:
    """The change as it was made; None when it turned out not to be needed."""
    if change.kind in {ChangeKind.ADDED, ChangeKind.COMPLETED, ChangeKind.REVISED}:
        try:
            return _follow_manifest(repository, catalog, change)
        except RepositoryError as error:
            return Change(ChangeKind.UNREADABLE, change.backup_id, change.row, error.message)
        except (NotFoundError, ObjectMissing):
            return None  # removed since it was listed
    assert change.row is not None
    if _has_manifest(repository, change.backup_id):
        return None
    if change.kind is ChangeKind.DELETED:
        gone = {"status": BackupStatus.DELETED, "deleted_at": catalog.now()}
        return change if catalog.replace(change.row, **gone) else None
    if change.kind is ChangeKind.LOST:
        why = (
            f"lost: there is no manifest in {repository.store.url}. If the store was put back from "
            "an older copy, take the newer one; when the manifest is there, `convault init` makes "
            "this backup completed again."
        )
    else:
        why = "interrupted: the run ended without finishing. Start a new backup."
    columns = {"status": BackupStatus.FAILED, "error": why, "lease_expires_at": None}
    return change if catalog.replace(change.row, **columns) else None


def _follow_manifest(repository: Repository, catalog: Catalog, change: Change) -> Change | None:
    archive = Archive(repository, change.backup_id)
    manifest = archive.manifest
    written = repository.store.head(repository.manifest_key(change.backup_id)).modified
    digest = sha256(repository.manifest_bytes(change.backup_id, 1)).hexdigest()
    columns = completed_columns(
        manifest, file_size=archive.size, completed_at=written, manifest_sha256=digest
    )
    if change.row is not None and change.row.status is BackupStatus.DELETED:
        columns["deleted_at"] = columns["purged_at"] = None
        columns["completed_at"] = change.row.completed_at or written
    learn(catalog, manifest)
    if change.row is not None and change.row.manifest_sha256 is not None:
        # What was committed, not what lies there now: or a change to it would never show.
        del columns["manifest_sha256"]
    if change.kind is ChangeKind.REVISED:
        del columns["completed_at"]  # it was completed when it was, whatever came later
    if change.row is not None:
        return change if catalog.replace(change.row, **columns) else None
    record = BackupRecord(
        id=change.backup_id,
        options=manifest.options,
        created_at=manifest.created_at,
        updated_at=written,
        metrics=told_of(manifest.consistency) or None,
        **columns,
    )
    added = catalog.add(record, keep_times=True)
    # Its own run may have been quicker.
    return change if added.created_at == record.created_at else None


def _has_manifest(repository: Repository, backup_id: UUID) -> bool:
    try:
        repository.store.head(repository.manifest_key(backup_id))
    except ObjectMissing:
        return False
    return True
