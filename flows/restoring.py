"""What a run of the restore flow works on, and whether it may."""

from __future__ import annotations

from uuid import UUID

from prefect import get_run_logger

from convault.encryption import identities
from convault.errors import ConfigurationError
from convault.repository import Repository
from convault.restore import RestoreOptions
from convault.restore.trust import admit
from convault.settings import load_settings
from convault.stores import open_store


class Given:
    """The objects of a backup, and where they go. Not a dataclass: Prefect looks into those."""

    def __init__(self, backup_id: UUID, target: str) -> None:
        """Opens the store; the catalog is not asked. ConfigurationError, NotFoundError,
        RepositoryError, StoreError; those of identity files for an encrypted backup."""
        self.settings = settings = load_settings()
        self.target_url = settings.target_url(target)
        repository = Repository.open(open_store(settings.store_url()))
        self.store = repository.store
        self.manifest, self.manifest_bytes = repository.stored_manifest(backup_id)
        self.superseded = repository.superseded(self.manifest)
        self.signing = settings.signing
        path = settings.convault_identity_file
        passphrase = settings.convault_identity_passphrase_file

        def ask(path: object) -> str:
            if passphrase is None:
                raise ConfigurationError(
                    "The identity file has a passphrase, and nobody is there to ask. Name a file "
                    "that holds it in CONVAULT_IDENTITY_PASSPHRASE_FILE."
                )
            return identities.read_passphrase(passphrase)

        encrypted = self.manifest.encryption is not None and path is not None
        self.identities = identities.read_all([path], ask) if encrypted and path else ()


def admitted(given: Given, options: RestoreOptions, *, trust: bool, agree: bool) -> bool:
    """Whether the archive is signed; SignatureError when it is not and nobody trusts it."""

    def confirm(shown: str) -> bool:
        get_run_logger().warning("%s", shown)
        return agree

    signature = given.signing.check(given.manifest_bytes, superseded=given.superseded)
    return admit(given.manifest, signature, options, trust=trust, confirm=confirm)
