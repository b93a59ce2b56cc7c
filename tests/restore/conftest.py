"""A source with conversations, and a backup of it that each test may damage as it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from uuid import uuid4

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest
from convault.repository import Repository
from convault.stores import open_store
from tests.databases import drop_database
from tests.restore.builder import back_up
from tests.restore.tables import fill


@dataclass
class Backup:
    source: str
    repository: Repository
    manifest: Manifest


def _in_memory() -> Repository:
    return Repository.create(open_store(f"memory://{uuid4().hex}"))


@pytest.fixture
def repository() -> Repository:
    return _in_memory()


@pytest.fixture(scope="session")
def _original(cluster: EmbeddedPostgres) -> Iterator[Backup]:
    name = f"conversations_{uuid4().hex}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        fill(cluster.url(name))
        repository = _in_memory()
        yield Backup(cluster.url(name), repository, back_up(repository, cluster.url(name)))
        drop_database(cluster.url(), name)


@pytest.fixture
def backup(_original: Backup) -> Backup:
    """The source is shared: read it. The repository is the test's own."""
    store = open_store(f"memory://{uuid4().hex}")
    for found in _original.repository.store.list():
        store.put(found.key, _original.repository.store.get(found.key))
    return replace(_original, repository=Repository.open(store))


@pytest.fixture
def target(cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]) -> str:
    """URL of an empty database beside the source."""
    return new_database(cluster)
