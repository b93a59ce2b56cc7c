"""What a run of the restore flow works on, and whether it may."""

from __future__ import annotations

from uuid import UUID

from prefect import get_run_logger

from convault.repository import Repository
from convault.restore import RestoreOptions
from convault.restore.trust import admit, signature_of
from convault.settings import load_settings
from convault.stores import open_store


class Given:
    """The objects of a backup, and where they go. Not a dataclass: Prefect looks into those."""

    def __init__(self, backup_id: UUID, target: str) -> None:
        """Opens the store; the catalog is not asked. ConfigurationError, NotFoundError,
        RepositoryError, StoreError."""
        settings = load_settings()
        self.target_url = settings.target_url(target)
        repository = Repository.open(open_store(settings.store_url()))
        self.store = repository.store
        self.manifest_bytes = repository.manifest_bytes(backup_id)
        self.manifest = repository.read_manifest(backup_id, self.manifest_bytes)


def admitted(given: Given, options: RestoreOptions, *, trust: bool, agree: bool) -> bool:
    """Whether the archive is signed; RestoreError when it is not and nobody trusts it."""

    def confirm(shown: str) -> bool:
        get_run_logger().warning("%s", shown)
        return agree

    signature = signature_of(given.manifest_bytes)
    return admit(given.manifest, signature, options, trust=trust, confirm=confirm)
