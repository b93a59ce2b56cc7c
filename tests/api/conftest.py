"""The API as clients meet it: over HTTP, on a catalog in a real Postgres.

A module shares one database and one server; each test finds the table `backups` empty.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from api.app import create_app
from convault.catalog import open_catalog
from convault.catalog.base import Catalog
from convault.embedded.server import EmbeddedPostgres
from convault.installation import initialise
from convault.settings import Settings
from deployments.start import DEPLOYMENT
from tests.databases import drop_database
from tests.flows.application import SCHEMA
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy, forget_runs
from tests.serving import KEY, client_of, served


@pytest.fixture(scope="module")
def settings(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """Of an installation that `init` has seen."""
    name = f"test_{secrets.token_hex(6)}"
    store: Path = tmp_path_factory.mktemp("store")
    settings = Settings(
        database_url=cluster.url(name),
        convault_store_url=store.as_uri(),
        convault_api_key=KEY,
        convault_failed_sign_ins=10_000,
    )
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        with psycopg.connect(settings.source_url()) as source:
            source.execute(SCHEMA)
        initialise(settings)
        yield settings
        drop_database(cluster.url(), name)


@pytest.fixture(autouse=True)
def catalog(settings: Settings) -> Catalog:
    """Its catalog, without a row."""
    with psycopg.connect(settings.catalog_url(), autocommit=True) as connection:
        connection.execute("TRUNCATE public.backups")
    return open_catalog(settings.catalog_url())


@pytest.fixture(autouse=True)
def patient_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fact of `GET /verify` is red because the machine stood still."""
    monkeypatch.setattr("api.facts.WITHIN", PATIENCE)
    monkeypatch.setattr("convault.doctor.runs.TIMEOUT", PATIENCE)


@pytest.fixture(scope="module")
def url(settings: Settings, closed_port: int) -> Iterator[str]:
    """URL of the API, with no Prefect server behind it."""
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api"}),
        served(create_app(settings)) as url,
    ):
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """A client with the key."""
    with client_of(url) as client:
        yield client


@pytest.fixture(scope="module")
def prefect_client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    """Of the tests' server; what was started or scheduled on it meanwhile is taken off again."""
    deploy(prefect_server)
    with (
        temporary_settings(
            {PREFECT_API_URL: prefect_server.url, PREFECT_HOME: prefect_server.home}
        ),
        get_client(sync_client=True) as client,
    ):
        deployment = client.read_deployment_by_name(DEPLOYMENT).id
        runs = {run.id for run in client.read_flow_runs()}
        schedules = {each.id for each in client.read_deployment_schedules(deployment)}
        yield client
        for each in client.read_deployment_schedules(deployment):
            if each.id not in schedules:
                client.delete_deployment_schedule(deployment, each.id)
        forget_runs(prefect_server, lambda: {run.id for run in client.read_flow_runs()} - runs)
