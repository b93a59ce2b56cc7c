"""The API as clients meet it: over HTTP, on a catalog in a real Postgres."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from serving import KEY, client_of, served

from api.app import create_app
from convault.catalog import open_catalog
from convault.catalog.base import Catalog
from convault.installation import initialise
from convault.settings import Settings


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Of an installation that `init` has not seen yet."""
    store = tmp_path / "store"
    store.mkdir(mode=0o700)
    return Settings(
        database_url=database,
        convault_store_url=store.as_uri(),
        convault_api_key=KEY,
    )


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    """Its catalog, after `init`."""
    initialise(settings)
    return open_catalog(settings.catalog_url())


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections: bound, so that nobody takes it, not open."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def no_prefect(closed_port: int) -> Iterator[None]:
    """Prefect's server is down."""
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api"}):
        yield


@pytest.fixture
def url(catalog: Catalog, settings: Settings, no_prefect: None) -> Iterator[str]:
    """URL of the API on an initialised catalog, with no Prefect server behind it."""
    with served(create_app(settings)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """A client with the key."""
    with client_of(url) as client:
        yield client
