"""A catalog with its tables, in an empty database, that waits for nobody: one suite, over SQL and
over the Data API of a Supabase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from convault.catalog.base import Catalog
from convault.catalog.postgres import PostgresCatalog
from convault.catalog.supabase import SupabaseCatalog
from convault.project import Project
from tests.catalog.lease_times import LASTING, RENEW_SECONDS
from tests.supabase_stack import SupabaseStack

SHORT: dict[str, Any] = {
    "lease_seconds": LASTING,
    "renew_seconds": RENEW_SECONDS,
    "patience": 0.3,
    "attempts": 1,
}
OVER_HTTP: dict[str, Any] = {**SHORT, "attempts": 3}
"""Node closes connections that were idle for 5 s, and a request may meet that."""
EMPTY = """
    TRUNCATE public.backups, public.backup_audit, public.backup_leases, public.backup_objects,
        public.backup_recipients, public.backup_repositories, public.backup_schedules,
        public.backup_verify_turns, public.backup_copies, public.backup_incidents
"""


@dataclass(frozen=True)
class Kept:
    """A catalog, and where it keeps what it knows."""

    catalog: Catalog
    database_url: str


@pytest.fixture
def repository_id() -> UUID:
    return uuid4()


@pytest.fixture
def catalog(database: str, repository_id: UUID) -> PostgresCatalog:
    made = PostgresCatalog(database, **SHORT)
    made.migrate()
    made.register_repository(repository_id, uuid4(), "file:///somewhere")
    return made


@pytest.fixture
def data_api(catalog_supabase: SupabaseStack) -> Project:
    """The project, its catalog empty."""
    with psycopg.connect(catalog_supabase.database_url, autocommit=True) as connection:
        connection.execute(EMPTY)
    return Project(catalog_supabase.url, {"apikey": catalog_supabase.secret_key})


@pytest.fixture(params=["sql", pytest.param("data-api", marks=pytest.mark.xdist_group("supabase"))])
def kept(request: pytest.FixtureRequest, repository_id: UUID) -> Iterator[Kept]:
    """Each kind of catalog."""
    if request.param == "sql":
        yield Kept(request.getfixturevalue("catalog"), request.getfixturevalue("database"))
        return
    project: Project = request.getfixturevalue("data_api")
    made = SupabaseCatalog(project, **OVER_HTTP)
    made.register_repository(repository_id, uuid4(), "file:///somewhere")
    yield Kept(made, request.getfixturevalue("catalog_supabase").database_url)
