"""The backup whose unchanged ranges a new one may take over: the newest complete one of its kind.

It is only believed when it is what was committed: its manifest read, its signature proven where
there are keys. Whatever is in the way means that every row is read, which is always right, and says
why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.dataset.filters import is_filtered
from convault.encryption.objects import Encryptor
from convault.errors import (
    ConvaultError,
    OptionsError,
    RepositoryError,
)
from convault.manifest import Manifest, ReuseFacts
from convault.models import BackupOptions
from convault.repository import Repository
from convault.signing.signature import Signature, SigningKeys

ASKED = "asked for with --full"


@dataclass(frozen=True, slots=True)
class Policy:
    """How often every row is read, whatever could be taken over."""

    every: int = 30
    """backups; 0: never for their number"""
    days: float = 30.0
    """0: never for their age"""


@dataclass(frozen=True, slots=True)
class Parentage:
    """What a new backup has to do with earlier ones."""

    parent: Manifest | None
    """the manifest of an earlier backup, proven"""
    full_because: str
    """why every row is read; '' when ranges of the parent may be taken over"""

    @property
    def facts(self) -> ReuseFacts | None:
        """What the parent says of itself."""
        return None if self.parent is None else self.parent.reuse

    def range_pages(self, wanted: int) -> int:
        """Heap pages of a range: the parent's, or as `wanted` when every row is read anyhow."""
        known = None if self.full_because else self.facts
        return wanted if known is None else known.range_pages


def find_parent(
    repository: Repository,
    catalog: Catalog,
    options: BackupOptions,
    *,
    keys: SigningKeys,
    encryptor: Encryptor | None,
    policy: Policy,
    now: datetime | None = None,
) -> Parentage:
    """The parent of a backup that is made now. CatalogUnavailable; what is wrong with the store or
    the parent is a reason to read everything."""
    if is_filtered(options.to_json()):
        return Parentage(None, "filtered backups take nothing over by its key")
    record = next(_like(catalog, repository, options), None)
    if record is None:
        return Parentage(None, "there is no earlier backup with the same options")
    name = f"backup {record.id}"
    try:
        manifest = proven(repository, record, keys)
        if _recipients(manifest) != (None if encryptor is None else encryptor.recipients):
            return Parentage(None, f"{name} is encrypted to others")
    except ConvaultError as error:
        return Parentage(None, f"{name} cannot be used: {error.message}")
    if options.full:
        return Parentage(manifest, ASKED)
    return Parentage(manifest, _due(manifest, policy, now or datetime.now(UTC)))


def same_kind(one: BackupOptions, other: BackupOptions) -> bool:
    """Whether two backups hold the same rows of a source, in the same form."""
    update = {
        "full": False, "include_attachments": False, "strict_attachments": False, "buckets": None
    }  # fmt: skip
    return one.model_copy(update=update) == other.model_copy(update=update)


def _like(
    catalog: Catalog, repository: Repository, options: BackupOptions
) -> Iterator[BackupRecord]:
    for record in catalog.list(status=BackupStatus.COMPLETED):
        if record.repository_id != repository.repository_id:
            continue
        try:
            asked = BackupOptions.parse(record.options)
        except OptionsError:
            continue  # of another version
        if same_kind(asked, options):
            yield record


def proven(repository: Repository, record: BackupRecord, keys: SigningKeys) -> Manifest:
    """The manifest of the backup, which is what was committed and, where there are `keys`, signed.
    RepositoryError, NotFoundError, StoreError."""
    manifest, data = repository.stored_manifest(record.id)
    first = repository.superseded(manifest)
    committed = data if first is None else first
    known = record.manifest_sha256
    if known is not None and sha256(committed).hexdigest() != known:
        raise RepositoryError("its manifest is not the one that was committed.", backup=record.id)
    found = keys.check(data, superseded=first)
    if keys and found is not Signature.SIGNED:
        raise RepositoryError(f"its manifest is {found}, and there are signing keys.")
    return manifest


def _recipients(manifest: Manifest) -> tuple[str, ...] | None:
    return None if manifest.encryption is None else manifest.encryption.recipients


def _due(manifest: Manifest, policy: Policy, now: datetime) -> str:
    """Why every row is read though nothing is in the way."""
    facts = manifest.reuse
    if facts is None:
        return f"backup {manifest.backup_id} is of a version that took nothing over"
    if policy.every and facts.since_full + 1 >= policy.every:
        return f"every row is read in one of {policy.every} backups (CONVAULT_FULL_EVERY)"
    if policy.days and now - facts.full_at >= timedelta(days=policy.days):
        return f"every row was last read on {facts.full_at:%Y-%m-%d} (CONVAULT_FULL_DAYS)"
    return ""
