"""An installation with two backups, whose store each test may damage as it likes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.installation import Installation
from convault.manifest import Manifest
from convault.reconcile import reconcile
from convault.repository import Repository
from convault.stores import open_store
from tests.flows.application import Application, build, database
from tests.restore.builder import back_up

PART_BYTES = 65536


@dataclass
class Kept:
    """What the tests of a module share, and a copy of its store that is a test's own."""

    application: Application
    installation: Installation
    first: Manifest
    second: Manifest
    """of the same rows and some more; shares parts with the first"""
    store: Path

    def write(self, key: str, data: bytes) -> None:
        """Behind Convault's back."""
        (self.store / key).write_bytes(data)

    def read(self, key: str) -> bytes:
        return (self.store / key).read_bytes()

    def delete(self, key: str) -> None:
        (self.store / key).unlink()

    @property
    def keys(self) -> list[str]:
        """Every object of the first backup."""
        key = self.installation.repository.manifest_key(self.first.backup_id)
        return [key, *self.first.objects()]


def commit(repository: Repository, url: str) -> Manifest:
    """A complete backup, with all that lies beside its manifest."""
    manifest = back_up(repository, url, part_bytes=PART_BYTES)
    members = [
        repository.put_member(manifest.backup_id, name, name.encode() * 20)
        for name in ("README.txt", "schema.sql")
    ]
    whole = manifest.model_copy(update={"members": tuple(members)})
    repository.put_manifest(whole)
    return whole


@pytest.fixture(scope="module")
def _original(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("verified")
    with database(cluster) as url, database(cluster) as catalog_url:
        application = build(
            url, catalog_url, folder / "store", messages=1500, CONVAULT_PART_BYTES=str(PART_BYTES)
        )
        installation = application.installation()
        first = commit(installation.repository, url)
        application.execute("INSERT INTO conversations (channel_id, created_at) VALUES (1, now())")
        second = commit(installation.repository, url)
        reconcile(installation.repository, installation.catalog)
        yield Kept(application, installation, first, second, folder / "store")


@pytest.fixture
def kept(_original: Kept, tmp_path: Path) -> Kept:
    """The source and the rows of the catalog are shared; what it remembers of objects is not."""
    with psycopg.connect(_original.application.environment["CONVAULT_CATALOG_URL"]) as connection:
        connection.execute("TRUNCATE backup_objects, backup_verify_turns")
    store = tmp_path / "copy"
    shutil.copytree(_original.store, store)
    repository = Repository.open(open_store(store.as_uri()))
    installation = replace(_original.installation, repository=repository)
    return replace(_original, installation=installation, store=store)


@pytest.fixture
def another(cluster: EmbeddedPostgres, tmp_path: Path) -> Iterator[tuple[Path, Manifest]]:
    """A backup of other rows in another repository: its folder and manifest."""
    with database(cluster) as url, database(cluster) as catalog_url:
        application = build(url, catalog_url, tmp_path / "another", conversations=9, messages=90)
        yield application.store, commit(application.installation().repository, url)
