"""Where a restore takes the backup from: the installation, a repository alone, or a tar."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from cli.identify import LATEST, backup_named
from cli.opening import opened
from convault.errors import ConfigurationError, ConvaultError, NotFoundError
from convault.settings import Settings

if TYPE_CHECKING:
    from convault.manifest import Manifest
    from convault.repository import Repository
    from convault.stores.base import Store


@dataclass(frozen=True, slots=True)
class Source:
    """A backup, and what holds its objects."""

    manifest: Manifest
    stored_manifest: bytes
    """as it is stored, which a signature is about"""
    store: Store
    superseded: bytes | None = None
    """the first revision of the manifest, where it is a later one (`Repository.superseded`)"""


def require_name(name: str | None, *, from_tar: Path | None) -> None:
    """ConfigurationError where nothing says which backup is meant."""
    if name is None and from_tar is None:
        raise ConfigurationError("Which backup? Give its id, the first characters, or `latest`.")


def source_of(
    settings: Settings, name: str | None, *, from_store: str | None, from_tar: Path | None
) -> Source:
    """The backup that was named. ConfigurationError when the ways to name it do not go together;
    NotFoundError; the errors of opening a store, an archive or an installation."""
    if from_tar is not None:
        if name is not None or from_store is not None:
            raise ConfigurationError("--from-tar holds one backup: leave the ID and --from-store.")
        from convault.restore.tar_store import TarStore

        store = TarStore(from_tar)
        return Source(store.manifest, store.manifest_bytes, store)
    assert name is not None  # `require_name` has seen to that
    if from_store is not None:
        repository = open_alone(from_store)
        backup_id = named_alone(repository, name)
    else:
        installation = opened(settings)
        repository, backup_id = installation.repository, backup_named(installation, name)
    manifest, data = repository.stored_manifest(backup_id)
    return Source(manifest, data, repository.store, repository.superseded(manifest))


def open_alone(url: str) -> Repository:
    """A repository, with no catalog. The errors of opening a store and a repository."""
    from convault.repository import Repository
    from convault.stores import open_store

    return Repository.open(open_store(url))


def named_alone(repository: Repository, name: str) -> UUID:
    """The backup that `name` means in a repository, with no catalog. NotFoundError."""
    from convault.newest import newest_of

    ids = repository.backup_ids()
    if name == LATEST:
        # One that cannot be read is no reason to refuse the others.
        readable = [m for _, m in repository.manifests() if not isinstance(m, ConvaultError)]
        return newest_of(readable, repository.store.url).backup_id
    found = [id_ for id_ in ids if str(id_).startswith(name.lower())]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(str, (found or ids)[:5])) or "none"
    raise NotFoundError(
        f"{len(found)} backups in {repository.store.url} begin with {name!r}. There are: {listed}."
    )
