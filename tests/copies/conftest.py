"""A vault, and places for copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from convault.copies import Lag, lag
from convault.installation import Installation
from convault.manifest import Manifest
from convault.replication.replicated import Replicated
from convault.replication.replicating import Replication, replicate
from convault.replication.wanted import CopyWanted
from convault.repository import Repository
from convault.retention.policy import Policy
from convault.settings import Settings
from convault.stores import open_store
from tests.retention.conftest import WHO, Vault
from tests.retention.conftest import catalog_url as catalog_url
from tests.retention.conftest import vault as vault

ZONE = ZoneInfo("America/Sao_Paulo")


class Copies:
    """A vault whose repository is copied to `url` under the name `far`."""

    def __init__(self, vault: Vault, url: str, **settings: Any) -> None:
        self.vault = vault
        self.url = url
        self.settings = Settings(convault_store_url=vault.repository.store.url, **settings)

    def installation(self) -> Installation:
        """Opened anew, as each run does."""
        repository = Repository.open(open_store(self.vault.repository.store.url))
        return Installation(self.settings, self.vault.catalog, repository)

    def replication(
        self, rules: Policy | None = None, *, grace: timedelta = timedelta(0),
        trash: timedelta = timedelta(days=7), **options: Any,
    ) -> Replication:  # fmt: skip
        wanted = CopyWanted("far", self.url, rules, ZONE, trash, grace, 2)
        return Replication(self.installation(), wanted, WHO, **options)

    def run(self, rules: Policy | None = None, **options: Any) -> Replicated:
        return replicate(self.replication(rules, **options))

    @property
    def copy(self) -> Repository:
        return Repository.open(open_store(self.url))

    def lag(self) -> Lag:
        (record,) = self.vault.catalog.copies(self.vault.repository.repository_id)
        return lag(record, self.vault.catalog.list(), self.vault.catalog.now())

    def damage(self) -> set[str]:
        """Keys that backups of the copy need, and that lack there or have other bytes: by reading
        all of them."""
        from hashlib import sha256

        copy, bad = self.copy, set()
        for backup_id in copy.backup_ids():
            manifest: Manifest = copy.manifest(backup_id)
            for key, digest in manifest.digests().items():
                try:
                    if sha256(copy.store.get(key)).hexdigest() != digest:
                        bad.add(key)
                except Exception:  # noqa: BLE001 - whatever it is, the object cannot be had
                    bad.add(key)
        return bad


@pytest.fixture
def copies(vault: Vault, tmp_path: Path) -> Iterator[Copies]:
    """In another folder."""
    vault.sql("TRUNCATE backup_copies")
    folder = tmp_path / "far"
    yield Copies(vault, folder.as_uri())
    shutil.rmtree(folder, ignore_errors=True)
