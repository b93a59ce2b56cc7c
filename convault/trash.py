"""The trash: a backup that was deleted waits there, and can be taken back.

A backup exists if and only if its first manifest lies in its folder. To delete it, that manifest is
first put into the trash, create-only, and then removed from its place: killed between the two, the
backup exists as before. To take it back, it is put in its place again; the copy in the trash stays
until a sweep, which has the repository alone. So at every moment a manifest lies in at least one of
the two, and who looks first in its place and then in the trash never misses it. Nothing else
of a backup moves: later revisions, README.txt, index and parts stay where they are.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from convault import layout
from convault.errors import NotFoundError, ObjectMissing
from convault.manifest import Manifest
from convault.repository import Repository


def trashed(repository: Repository) -> dict[UUID, datetime]:
    """Backups that have a manifest in the trash, and since when by the store's clock; those that
    exist all the same (`put_back` leaves such) among them. StoreError."""
    found = {}
    for info in repository.store.list(layout.TRASH):
        backup_id = layout.trashed_of(info.key)
        if backup_id is not None:
            found[backup_id] = info.modified
    return found


def trashed_manifest(repository: Repository, backup_id: UUID) -> Manifest:
    """Its manifest in the highest revision, checked. NotFoundError, RepositoryError."""
    first = _bytes(repository, backup_id)
    revision = repository.revision(backup_id)
    if revision == 1:
        return repository.read_manifest(backup_id, first, 1)
    data = repository.store.get(layout.manifest_key(backup_id, revision))
    return repository.read_manifest(backup_id, data, revision)


def move_to_trash(repository: Repository, backup_id: UUID) -> None:
    """Let the backup exist no more. May be repeated. NotFoundError when it neither exists nor lies
    in the trash; StoreError."""
    try:
        data = repository.manifest_bytes(backup_id, 1)
    except NotFoundError:
        _bytes(repository, backup_id)
        return
    store, key = repository.store, layout.trash_key(backup_id)
    if not store.put(key, data):
        # An earlier one lies there: anew, so that the days are counted from now. The bytes are
        # the same, unless somebody changed them.
        store.replace(key, data)
    store.flush()
    store.delete(repository.manifest_key(backup_id))
    store.flush()


def put_back(repository: Repository, backup_id: UUID) -> None:
    """Let a backup in the trash exist again. May be repeated. NotFoundError, RepositoryError for a
    manifest that cannot be read, StoreError."""
    try:
        data = _bytes(repository, backup_id)
    except NotFoundError:
        if backup_id not in repository.backup_ids():
            raise
        return  # it exists, and was never deleted, or taken back long ago
    repository.read_manifest(backup_id, data, 1)
    repository.store.put(repository.manifest_key(backup_id), data)
    repository.store.flush()


def _bytes(repository: Repository, backup_id: UUID) -> bytes:
    try:
        return repository.store.get(layout.trash_key(backup_id))
    except ObjectMissing:
        raise NotFoundError(
            f"There is no backup {backup_id} in {repository.store.url}, nor in its trash; "
            "`convault list --deleted` shows what was deleted.",
            backup=backup_id,
        ) from None
