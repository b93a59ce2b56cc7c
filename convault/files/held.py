"""Files that the repository holds already, so that what has not changed is not read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from convault.errors import NotFoundError, ObjectMissing, RepositoryError
from convault.files.addresses import Address
from convault.files.entries import FileEntry
from convault.files.storage import RemoteFile
from convault.manifest import DigestKey, Manifest
from convault.repository import Repository

BACKUPS = 3
"""newest ones with files that are looked at: a filtered one may hold few"""


@dataclass(frozen=True, slots=True)
class Held:
    """What the newest backups say of files of one project."""

    entries: Mapping[Address, FileEntry] = field(default_factory=dict)
    digest_keys: Mapping[str, DigestKey] = field(default_factory=dict)
    """of the encrypted ones, by id"""

    def same(
        self, address: Address, remote: RemoteFile, recipients: Sequence[str] | None
    ) -> FileEntry | None:
        """What is held of the file, if it is still the same one, and encrypted to exactly the
        `recipients` (None: not at all)."""
        entry = self.entries.get(address)
        if entry is None or not remote.etag:
            return None
        told = (remote.size, remote.etag, remote.modified)
        if told != (entry.plain_bytes, entry.etag, entry.modified):
            return None
        key = None if entry.digest_key is None else self.digest_keys.get(entry.digest_key)
        if recipients is None:
            return None if entry.encrypted else entry
        return entry if key is not None and set(key.recipients) == set(recipients) else None


def held_of(repository: Repository, backups: Iterable[UUID], project: str) -> Held:
    """What the newest of these backups (the newest first) hold of the project's files. One whose
    manifest cannot be read is passed over: it costs that files are read again."""
    entries: dict[Address, FileEntry] = {}
    keys: dict[str, DigestKey] = {}
    seen = 0
    for backup_id in backups:
        try:
            manifest = repository.manifest(backup_id)
        except (NotFoundError, RepositoryError):
            continue
        if manifest.storage is None or manifest.storage.project != project:
            continue
        _add(manifest, entries, keys)
        seen += 1
        if seen == BACKUPS:
            break
    return Held(entries, keys)


def is_there(repository: Repository, entry: FileEntry) -> bool:
    """Whether its object is in the store, with its size."""
    try:
        return repository.store.head(str(entry.key)).size == entry.stored_bytes
    except ObjectMissing:
        return False


def _add(manifest: Manifest, entries: dict[Address, FileEntry], keys: dict[str, DigestKey]) -> None:
    for entry in manifest.stored_files:
        entries.setdefault(entry.address, entry)
    for key in manifest.encryption.digest_keys if manifest.encryption else ():
        keys.setdefault(key.id, key)
