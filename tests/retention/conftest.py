"""An installation of handmade backups: a real catalog, a folder for a store, no source."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from convault.catalog.postgres import PostgresCatalog
from convault.commit import commit
from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest
from convault.models import TableName
from convault.repository import Repository
from convault.retention.audited import Actor
from convault.retention.sweeping import Swept, sweep
from convault.stores import open_store
from tests.flows.application import database
from tests.handmade import CONVERSATIONS, MESSAGES, TAKEN, new_backup, rows
from tests.patience import PATIENCE

WHO = Actor("ana", "cli")
NONE, WEEK = timedelta(0), timedelta(days=7)


def kept_contents(number: int) -> dict[TableName, list[bytes]]:
    """Rows of a backup: the conversations are the same in each, one part of messages is its own."""
    return {CONVERSATIONS: [rows(0, 20)], MESSAGES: [rows(0, 30), rows(1000 + 10 * number, 10)]}


@dataclass
class Vault:
    """A repository and its catalog."""

    url: str
    folder: Path
    repository: Repository
    catalog: PostgresCatalog

    def back_up(self, number: int = 0, **changes: Any) -> Manifest:
        """One that is complete."""
        backup_id = uuid4()
        manifest = new_backup(self.repository, kept_contents(number), backup_id=backup_id)
        taken = {"created_at": TAKEN + timedelta(minutes=number)}
        manifest = manifest.model_copy(update=taken | changes)
        with self.catalog.begin(backup_id, manifest.options) as lease:
            commit(self.repository, self.catalog, lease, manifest, metrics={})
        return manifest

    def daily(self, count: int) -> list[Manifest]:
        """One a day, the newest first, and an hour old."""
        now = self.catalog.now() - timedelta(hours=1)
        return [
            self.back_up(n, created_at=now - timedelta(days=n)) for n in reversed(range(count))
        ][::-1]

    def sweep(self, grace: timedelta = NONE, trash: timedelta = WEEK, **more: Any) -> Swept:
        return sweep(self.repository, self.catalog, WHO, grace=grace, trash=trash, **more)

    def listed(self) -> set[str]:
        return {info.key for info in self.repository.store.list()}

    def sql(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement, values)  # type: ignore[call-overload]

    def end_sessions_with_locks(self) -> None:
        """They are gone behind this."""
        self.sql(
            "SELECT pg_terminate_backend(pid, 300000) FROM pg_locks WHERE locktype = 'advisory'"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )

    def damage(self) -> set[str]:
        """What backups need, those in the trash included, and is not there or has another size."""
        missing = set()
        for manifest in all_manifests(self.repository):
            for key, size in manifest.objects().items():
                path = self.folder / key
                if not path.exists() or path.stat().st_size != size:
                    missing.add(key)
        return missing


def all_manifests(repository: Repository) -> Iterator[Manifest]:
    """Read from the store, without what this is a test of."""
    for folder in ("backups", "trash"):
        for info in repository.store.list(f"{folder}/"):
            if info.key.endswith("/datapackage.json"):
                data = repository.store.get(info.key)
                yield Manifest.from_bytes(data, where=info.key)


def opened(
    url: str, folder: Path, *,
    lease_seconds: float = 600.0, patience: float = PATIENCE, guard_patience: float = PATIENCE,
) -> Vault:  # fmt: skip
    """The vault in that folder. Its catalog waits until sessions that were closed or killed have
    ended, unless it is told not to."""
    repository = Repository.open(open_store(folder.as_uri()))
    catalog = PostgresCatalog(
        url, lease_seconds=lease_seconds, renew_seconds=0.5, patience=patience,
        guard_patience=guard_patience,
    )  # fmt: skip
    return Vault(url, folder, repository, catalog)


@pytest.fixture(scope="module")
def catalog_url(cluster: EmbeddedPostgres) -> Iterator[str]:
    with database(cluster) as url:
        PostgresCatalog(url).migrate()
        yield url


@pytest.fixture
def vault(catalog_url: str, tmp_path: Path) -> Iterator[Vault]:
    """An empty one."""
    folder = tmp_path / f"store-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    repository = Repository.create(open_store(folder.as_uri()))
    made = opened(catalog_url, folder)
    made.sql("TRUNCATE backups, backup_audit, backup_repositories")
    made.catalog.register_repository(
        repository.repository_id, repository.installation_id, repository.store.url
    )
    yield made
    shutil.rmtree(folder)
