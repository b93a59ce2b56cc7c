"""A school to back up, and an empty database to restore into."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from tests.sensitive import school as made


@pytest.fixture
def school(database: str) -> str:
    """URL of a database with the school."""
    made.fill(database)
    return database


@pytest.fixture
def target(cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]) -> str:
    """URL of an empty database beside it."""
    return new_database(cluster)


@pytest.fixture
def new_role(database: str) -> Iterator[Callable[[str], str]]:
    """Make a role with the given rights (`{role}` stands for it); the database's URL for it."""
    made: list[str] = []

    def make(grants: str) -> str:
        role = f"role_{secrets.token_hex(6)}"
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {role} LOGIN".encode())
            made.append(role)
            connection.execute(grants.format(role=role).encode())
        return database.replace("//postgres@", f"//{role}@")

    yield make
    with psycopg.connect(database, autocommit=True) as connection:
        for role in made:
            connection.execute(f"DROP OWNED BY {role} CASCADE".encode())
            connection.execute(f"DROP ROLE {role}".encode())
