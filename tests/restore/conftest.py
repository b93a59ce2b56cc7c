"""A source with conversations, a repository in memory, and a backup of one in the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest
from convault.repository import Repository
from convault.stores import open_store
from tests.restore.builder import back_up
from tests.restore.tables import fill


@dataclass
class Backup:
    source: str
    repository: Repository
    manifest: Manifest


@pytest.fixture
def repository() -> Repository:
    return Repository.create(open_store(f"memory://{uuid4().hex}"))


@pytest.fixture
def backup(database: str, repository: Repository) -> Backup:
    fill(database)
    return Backup(database, repository, back_up(repository, database))


@pytest.fixture
def target(cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]) -> str:
    """URL of an empty database beside the source."""
    return new_database(cluster)
