"""Files that the repository holds already, so that what has not changed is not read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from convault.catalog.base import BackupRecord
from convault.errors import NotFoundError, ObjectMissing, RepositoryError
from convault.files.addresses import Address
from convault.files.entries import FileEntry
from convault.files.storage import RemoteFile
from convault.manifest import DigestKey, Manifest
from convault.ranges.parent import proven
from convault.repository import Repository
from convault.signing.signature import SigningKeys

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


def held_of(
    repository: Repository, backups: Iterable[BackupRecord], project: str, keys: SigningKeys
) -> Held:
    """What the newest of these backups (the newest first) hold of the project's files. Only a
    manifest that is proven is believed, as for rows: what it names goes into another one, which is
    signed. One that is not is passed over: it costs that files are read again. StoreUnavailable."""
    entries: dict[Address, FileEntry] = {}
    digest_keys: dict[str, DigestKey] = {}
    seen = 0
    for record in backups:
        if record.repository_id != repository.repository_id:
            continue
        try:
            manifest = proven(repository, record, keys)
        except (NotFoundError, RepositoryError):
            continue
        if manifest.storage is None or manifest.storage.project != project:
            continue
        _add(manifest, entries, digest_keys)
        seen += 1
        if seen == BACKUPS:
            break
    return Held(entries, digest_keys)


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
