"""What an operator does with one backup: delete it, take it back, pin it, acknowledge it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from convault.adoption import require_ours
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.errors import (
    CatalogUnavailable,
    NotFoundError,
    OptionsError,
    RemovalRefused,
    RepositoryError,
)
from convault.manifest import Manifest
from convault.reconcile import reconcile
from convault.repository import Repository
from convault.retention.audited import Actor, audited
from convault.retention.candidates import candidates
from convault.retention.deciding import always_kept
from convault.trash import move_to_trash, put_back

MAX_REASON = 500


def delete(
    repository: Repository, catalog: Catalog, backup_id: UUID, actor: Actor, *, force: bool = False,
    unpin: bool = False,
) -> BackupRecord:  # fmt: skip
    """Move a backup to the trash; the row as it is then. `force`: also the last good one of its
    group; `unpin`: also a pinned one, which is pinned no more. RemovalRefused, NotFoundError,
    NotAdopted, BusyError, StoreError, CatalogError."""
    with audited(catalog, actor, "delete", backup_id) as note:
        require_ours(repository, catalog)
        row = catalog.get(backup_id)
        if row.status is BackupStatus.DELETED:
            note.detail = "it was deleted already"
            return row
        pinned = row.pinned if unpin else None
        free = row if pinned is None else row.model_copy(update={"pinned": None})
        require_removable(repository, catalog, free, force=force)
        note.detail = f"it was {row.status}" + (" (forced)" if force else "")
        if pinned is not None:
            note.detail += f"; it was pinned: {pinned}"
            row = _changed(catalog, backup_id, pinned=None)
        with catalog.guard(repository.repository_id) as guard:
            return discard(repository, catalog, row, guard.check)


def discard(
    repository: Repository, catalog: Catalog, row: BackupRecord, check: Callable[[], None]
) -> BackupRecord:
    """Move it, and then let the row say so. `check` proves the guard. A failed run has no
    manifest: only its row is marked."""
    check()
    if row.status is BackupStatus.COMPLETED:
        move_to_trash(repository, row.id)
    mark_deleted(catalog, row.id)
    return catalog.get(row.id)


def mark_deleted(catalog: Catalog, backup_id: UUID, *, purged: bool = False) -> None:
    """Let the row say so, if there is one and it does not: also before a manifest leaves the trash,
    whose deletion was killed before it came to the row. `purged`: and that it is to be erased
    everywhere, which copies follow. CatalogUnavailable."""
    try:
        if catalog.get(backup_id).status is not BackupStatus.DELETED:
            _changed(catalog, backup_id, status=BackupStatus.DELETED, deleted_at=catalog.now())
        if purged:
            _changed(catalog, backup_id, purged_at=catalog.now())
    except NotFoundError:
        return  # the catalog was made anew


def require_removable(
    repository: Repository, catalog: Catalog, row: BackupRecord, *, force: bool = False
) -> None:
    """RemovalRefused for a backup that is pinned, at work, or (unless `force`) the last good one of
    its group."""
    if row.pinned is not None:
        raise RemovalRefused(
            f"Backup {row.id} is pinned ({row.pinned}), so it stays. `convault unpin {row.id}` "
            "lets it go.",
            backup=row.id,
        )
    if row.status in {BackupStatus.PENDING, BackupStatus.PROCESSING}:
        raise RemovalRefused(
            f"Backup {row.id} is {row.status}: wait until it is over, or stop it first.",
            backup=row.id,
        )
    if row.status is not BackupStatus.COMPLETED or force:
        return
    manifests = {i: m for i, m in repository.manifests() if isinstance(m, Manifest)}
    known = candidates(catalog.list(), manifests, repository.repository_id)
    this = next((c for c in known if c.id == row.id), None)
    if this is None or not this.readable:
        return  # it stands for nothing
    others = [c for c in known if c.group == this.group and c.status is this.status]
    reason = always_kept(others, catalog.now()).get(row.id)
    if reason is not None and "last" in reason:
        raise RemovalRefused(
            f"Backup {row.id} is {reason}, so it stays. Make a newer one first; or repeat this "
            "with its full id and --force.",
            backup=row.id,
        )


def undelete(
    repository: Repository, catalog: Catalog, backup_id: UUID, actor: Actor
) -> BackupRecord:
    """Take a backup back from the trash; its row follows. NotFoundError when it is not there (any
    more), RepositoryError, NotAdopted, BusyError, StoreError, CatalogError."""
    with audited(catalog, actor, "undelete", backup_id):
        require_ours(repository, catalog)
        with catalog.guard(repository.repository_id) as guard:
            guard.check()
            if not _failed_without_manifest(repository, catalog, backup_id):
                put_back(repository, backup_id)
        unreadable = [c.reason for c in reconcile(repository, catalog) if c.backup_id == backup_id]
        row = catalog.get(backup_id)
        if row.status is BackupStatus.DELETED:
            raise RepositoryError(f"Backup {backup_id} cannot be read: {''.join(unreadable)}")
        return row


def _failed_without_manifest(repository: Repository, catalog: Catalog, backup_id: UUID) -> bool:
    """Whether it is the row of a run that failed: then that is what it says again."""
    try:
        row = catalog.get(backup_id)
    except NotFoundError:
        return False  # the catalog was made anew; its manifest may be there
    if row.status is not BackupStatus.DELETED or row.completed_at is not None:
        return False
    return catalog.replace(row, status=BackupStatus.FAILED, deleted_at=None) is not None


def pin(catalog: Catalog, backup_id: UUID, reason: str, actor: Actor) -> BackupRecord:
    """Let it stay, whatever a policy says. OptionsError without a reason, NotFoundError."""
    text = reason.strip()
    if not text or len(text) > MAX_REASON:
        raise OptionsError(f"A pin needs a reason, of at most {MAX_REASON} characters.")
    with audited(catalog, actor, "pin", backup_id) as note:
        note.detail = text
        return _changed(catalog, backup_id, pinned=text)


def unpin(catalog: Catalog, backup_id: UUID, actor: Actor) -> BackupRecord:
    """Let policies decide again. NotFoundError."""
    with audited(catalog, actor, "unpin", backup_id) as note:
        note.detail = catalog.get(backup_id).pinned or "it was not pinned"
        return _changed(catalog, backup_id, pinned=None)


def acknowledge(catalog: Catalog, backup_id: UUID, actor: Actor) -> BackupRecord:
    """Say that this backup's rows are as they should be, though a table shrank: later ones of its
    group are held against it, not against those before it. NotFoundError, RemovalRefused."""
    with audited(catalog, actor, "acknowledge", backup_id):
        row = catalog.get(backup_id)
        if row.status is not BackupStatus.COMPLETED:
            raise RemovalRefused(
                f"Backup {backup_id} is {row.status}: only a completed one can be acknowledged.",
                backup=backup_id,
            )
        return _changed(catalog, backup_id, acknowledged_at=catalog.now())


def _changed(catalog: Catalog, backup_id: UUID, **columns: object) -> BackupRecord:
    for _ in range(10):
        row = catalog.get(backup_id)
        changed = catalog.replace(row, **columns)
        if changed is not None:
            return changed
    raise CatalogUnavailable(f"The row of backup {backup_id} changes all the time: try again.")
