"""What a worker of a cluster is told of a backup, and what it opens by its own settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from convault.dataset.masking import mask_key
from convault.encryption.objects import Encryptor
from convault.manifest import DigestKey
from convault.models import BackupOptions
from convault.repository import Repository
from convault.settings import Settings
from convault.sources.base import Shared
from convault.sources.shared import SharedSnapshot
from convault.stores import open_store
from convault.stores.pace import PacedStore, TokenBucket


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is told of a backup: what its own settings cannot say. Settings, passwords and
    keys of the store do not travel; the digest key of an encrypted backup does."""

    shared: Shared
    repository_id: UUID
    options: BackupOptions
    part_bytes: int
    digest_key: DigestKey | None = None
    secret: bytes | None = field(default=None, repr=False)
    upload_rate: float | None = None
    """bytes a second that carrying the chunk may send to the store"""


def order(
    shared: Shared, repository: Repository, options: BackupOptions, part_bytes: int,
    encryptor: Encryptor | None, upload_rate: float | None = None,
) -> Order:  # fmt: skip
    """For the chunks whose ranges are `shared`."""
    key, secret = (None, None) if encryptor is None else (encryptor.digest_key, encryptor.secret)
    return Order(
        shared, repository.repository_id, options, part_bytes, key, secret, upload_rate
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker carries a chunk with."""

    rows: SharedSnapshot
    repository: Repository
    encryptor: Encryptor | None


@contextmanager
def place(told: Order, settings: Settings) -> Iterator[Place]:
    """By the worker's own settings, for one chunk: a connection that stayed would keep the snapshot
    open for ever when the run was killed. ConfigurationError, RepositoryError, and what reading
    raises."""
    repository = Repository.open(open_store(settings.store_url()), told.repository_id)
    if told.upload_rate is not None:
        pace = TokenBucket(told.upload_rate, empty=True)
        repository = repository.through(PacedStore(repository.store, pace))
    encryptor = None
    if told.digest_key is not None and told.secret is not None:
        encryptor = Encryptor.again(told.digest_key, told.secret)
    hashed = told.shared.mask_key is not None
    rows = SharedSnapshot(
        settings.source_url(),
        told.shared,
        lock_timeout=settings.convault_lock_timeout,
        mask_key=mask_key(settings.convault_mask_key) if hashed else None,
    )
    with closing(rows):
        yield Place(rows, repository, encryptor)
