"""What the manifests of a repository need: every object, and the backups that need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

from convault import layout
from convault.errors import NotFoundError, ObjectMissing, RepositoryError
from convault.files.entries import FileEntry
from convault.manifest import Manifest, PartEntry, TableEntry
from convault.manifest_entries import Shared
from convault.repository import Repository
from convault.signing.signature import Signature, SigningKeys
from convault.verification.findings import Finding, FindingKind

_NO_KEYS = SigningKeys()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part's rows come from."""

    manifest: Manifest
    table: TableEntry
    part: PartEntry


@dataclass(frozen=True, slots=True)
class FilePlace:
    """Where a Storage file comes from."""

    project: str
    entry: FileEntry


@dataclass(slots=True)
class Needed:
    """An object that backups need."""

    key: str
    size: int
    """bytes"""
    sha256: str
    backups: list[UUID] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    """of a part; none for other objects"""
    files: list[FilePlace] = field(default_factory=list)
    """of a Storage file; none for other objects"""


@dataclass(slots=True)
class Holdings:
    """The backups that were looked at, and what they need."""

    manifests: dict[UUID, Manifest] = field(default_factory=dict)
    needed: dict[str, Needed] = field(default_factory=dict)
    """by key"""
    unreadable: set[UUID] = field(default_factory=set)
    """backups whose manifest cannot be read, so that nobody knows what they need"""
    superseded: set[str] = field(default_factory=set)
    """keys that revisions below those that count name, beside others"""
    shared: Shared = field(default_factory=Shared)
    """entries of manifests, most of which many of them have"""
    digests: dict[UUID, str] = field(default_factory=dict)
    """SHA-256 of the first revision of each manifest that can be read"""
    findings: list[Finding] = field(default_factory=list)
    """about manifests"""


def read_holdings(
    repository: Repository,
    backups: Iterable[UUID],
    committed: Mapping[UUID, str | None],
    keys: SigningKeys = _NO_KEYS,
    revisions: Mapping[UUID, int] | None = None,
) -> Holdings:
    """Read these manifests, every byte of them, in the revision that counts. `committed` tells the
    SHA-256 of each first revision as the catalog knows it: that, or a signature by one of `keys`,
    is what shows a change that leaves a manifest readable. `revisions` tells the highest revision
    that the catalog knows of each: without it a lower one would count. StoreError."""
    found = Holdings()
    for backup_id in backups:
        key = repository.manifest_key(backup_id)
        try:
            first = data = repository.manifest_bytes(backup_id, 1)
            revision = repository.revision(backup_id)
            if revision > 1:
                key = layout.manifest_key(backup_id, revision)
                data = repository.manifest_bytes(backup_id, revision)
            manifest = repository.read_manifest(backup_id, data, revision, found.shared)
        except NotFoundError:
            found.findings.append(missing_manifest(repository, backup_id))
            continue
        except RepositoryError as error:
            found.unreadable.add(backup_id)
            found.findings.append(Finding(FindingKind.DAMAGED, key, error.message, (backup_id,)))
            continue
        _add(found, manifest)
        _add_superseded(found, repository, backup_id, first, revision)
        known = (revisions or {}).get(backup_id, 1)
        if revision < known:
            lost = layout.manifest_key(backup_id, known)
            why = f"this revision of its manifest was written, and revision {revision} counts again"
            found.findings.append(Finding(FindingKind.MISSING, lost, why, (backup_id,)))
        found.digests[backup_id] = digest = sha256(first).hexdigest()
        faults = []
        if (committed.get(backup_id) or digest) != digest:
            key = repository.manifest_key(backup_id)
            faults.append("its bytes are not those that were committed")
        elif keys.check(data, superseded=first if revision > 1 else None) is Signature.WRONG:
            faults.append(f"its signature is wrong: {keys.problem(data)}")
        found.findings += [Finding(FindingKind.DAMAGED, key, why, (backup_id,)) for why in faults]
    return found


def _add_superseded(
    found: Holdings, repository: Repository, backup_id: UUID, first: bytes, revision: int
) -> None:
    """What the revisions below `revision` name, as far as they are there and can be read."""
    for number in range(1, revision):
        try:
            data = first if number == 1 else repository.manifest_bytes(backup_id, number)
            manifest = repository.read_manifest(backup_id, data, number)
        except (NotFoundError, RepositoryError):
            continue  # nothing counts on them any more
        found.superseded.update(manifest.objects())


def add_trash(
    found: Holdings,
    repository: Repository,
    backups: Iterable[UUID],
    committed: Mapping[UUID, str | None],
    revisions: Mapping[UUID, int],
) -> None:
    """What deleted `backups` need, which can be taken back from the trash; as `read_holdings`
    tells it. Those that were taken back meanwhile exist, or were there before."""
    for backup_id in backups:
        key = layout.trash_key(backup_id)
        try:
            first = repository.store.get(key)
            revision = repository.revision(backup_id)
            data = first
            if revision > 1:
                data = repository.store.get(layout.manifest_key(backup_id, revision))
            manifest = repository.read_manifest(backup_id, data, revision, found.shared)
        except ObjectMissing:
            found.findings.append(
                Finding(FindingKind.MISSING, key, "it was in the trash a moment ago", (backup_id,))
            )
            continue
        except RepositoryError as error:
            found.unreadable.add(backup_id)
            found.findings.append(Finding(FindingKind.DAMAGED, key, error.message, (backup_id,)))
            continue
        _add(found, manifest)
        _add_superseded(found, repository, backup_id, first, revision)
        digest = sha256(first).hexdigest()
        if (committed.get(backup_id) or digest) != digest:
            why = "its bytes are not those that were committed"
            found.findings.append(Finding(FindingKind.DAMAGED, key, why, (backup_id,)))
        if revision < revisions.get(backup_id, 1):
            lost = layout.manifest_key(backup_id, revisions[backup_id])
            why = "this revision of a deleted backup was written, and is not there"
            found.findings.append(Finding(FindingKind.MISSING, lost, why, (backup_id,)))


def missing_manifest(repository: Repository, backup_id: UUID) -> Finding:
    """Without its manifest a backup does not exist."""
    return Finding(
        FindingKind.MISSING,
        repository.manifest_key(backup_id),
        "the backup was completed, and its manifest is not there",
        (backup_id,),
    )


def _add(found: Holdings, manifest: Manifest) -> None:
    found.manifests[manifest.backup_id] = manifest
    digests = manifest.digests()
    for key, size in manifest.objects().items():
        needed = found.needed.setdefault(key, Needed(key, size, digests[key]))
        needed.backups.append(manifest.backup_id)
    for table in manifest.tables:
        for part in table.parts:
            found.needed[part.key].places.append(Place(manifest, table, part))
    if manifest.storage is not None:
        for entry in manifest.stored_files:
            place = FilePlace(manifest.storage.project, entry)
            found.needed[str(entry.key)].files.append(place)
