"""Roles of a test's own."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.sources.reading import run


@pytest.fixture
def role(database: str) -> Iterator[Callable[..., str]]:
    """Make a role that may log in, with the given `ALTER ROLE` clauses; returns the URL of the
    test's database for it. The role may read everything unless `reads_all=False`."""
    made: list[str] = []

    def make(*clauses: str, reads_all: bool = True) -> str:
        name = f"role_{secrets.token_hex(6)}"
        run(database, f"CREATE ROLE {name} LOGIN")
        made.append(name)
        if reads_all:
            run(database, f"GRANT pg_read_all_data TO {name}")
        for clause in clauses:
            run(database, f"ALTER ROLE {name} {clause}")
        return database.replace("//postgres@", f"//{name}@")

    yield make
    for name in made:
        run(database, f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
