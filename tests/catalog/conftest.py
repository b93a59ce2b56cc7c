"""A catalog with its tables, in an empty database, whose leases are short."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from convault.catalog.postgres import PostgresCatalog
from tests.catalog.lease_times import LEASE_SECONDS, RENEW_SECONDS


@pytest.fixture
def repository_id() -> UUID:
    return uuid4()


@pytest.fixture
def catalog(database: str, repository_id: UUID) -> PostgresCatalog:
    made = PostgresCatalog(
        database,
        lease_seconds=LEASE_SECONDS,
        renew_seconds=RENEW_SECONDS,
        patience=0.3,
        attempts=1,
    )
    made.migrate()
    made.register_repository(repository_id, uuid4(), "file:///somewhere")
    return made
