"""`POST /init`: from nothing to everything, and nothing the second time."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule

from api.app import create_app
from convault.catalog import open_catalog
from convault.schedule import BackupSchedule, id_of
from convault.settings import Settings
from deployments.automation import NAME
from deployments.start import DEPLOYMENT
from tests.flows.application import SCHEMA
from tests.serving import KEY, PATH, client_of, problem, served

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]


def test_everything_is_made_once(
    database: str, tmp_path: Path, prefect_client: SyncPrefectClient
) -> None:
    """A catalog without tables, a store that is an empty folder, a server that lost a deployment
    and a schedule."""
    store = tmp_path / "store"
    store.mkdir(mode=0o700)
    settings = Settings(
        database_url=database, convault_store_url=store.as_uri(), convault_api_key=KEY
    )
    with psycopg.connect(database) as connection:
        connection.execute(SCHEMA)
    prefect_client.delete_deployment(prefect_client.read_deployment_by_name("cleanup/daily").id)
    with served(create_app(settings)) as url, client_of(url) as client:
        problem(client.post(PATH), 500, "catalog")
        first = client.post(f"{PATH}/init")
        assert first.status_code == 200, first.text
        lost = BackupSchedule(id=id_of("lost"), name="lost", schedule="daily", is_active=False)
        open_catalog(database).save_schedule(lost)
        second, third = client.post(f"{PATH}/init").json(), client.post(f"{PATH}/init").json()
        entries = client.get(f"{PATH}/audit").json()
    made = first.json()
    assert made["created"] is True
    assert len(made["migrations"]) > 5
    # Queue and automation are also missing where `prefect deploy` made the deployments.
    assert "deployment cleanup/daily" in made["made"]
    assert not [name for name in made["made"] if name.startswith("work pool")]
    assert (store / "convault.json").is_file()
    assert any("Created repository" in line for line in made["done"])
    assert (second["created"], second["migrations"], second["made"]) == (False, [], [])
    assert second["schedules"] == ["lost"]
    assert third["schedules"] == []
    assert third["done"][-1] == "The Prefect server has everything that is needed."
    assert third["repository_id"] == made["repository_id"]
    assert [(e["action"], e["origin"]) for e in entries] == [("init", "api 127.0.0.1")] * 3
    assert "lost" in [schedule.slug for schedule in schedules_of(prefect_client)]
    [heartbeat] = prefect_client.read_automations_by_name(NAME)
    assert heartbeat.enabled
    assert {action.state.value for action in heartbeat.actions} == {"CRASHED"}  # type: ignore[union-attr]


def test_schedules_are_left_as_they_are(
    settings: Settings, prefect_client: SyncPrefectClient
) -> None:
    """Those of prefect.yaml, of Prefect's UI and of the API: who switched one on wants it on."""
    deployment = prefect_client.read_deployment_by_name(DEPLOYMENT).id
    new = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 5 1 1 *"), active=False)
    prefect_client.create_deployment_schedules(deployment, [new])
    before = schedules_of(prefect_client)
    assert {schedule.slug for schedule in before} >= {"daily", None}
    with served(create_app(settings)) as url, client_of(url) as client:
        client.post(f"{PATH}/init").raise_for_status()  # queues and automation may be missing
        assert client.post(f"{PATH}/init").json()["made"] == []
    assert schedules_of(prefect_client) == before


def schedules_of(client: SyncPrefectClient) -> list[DeploymentSchedule]:
    found = client.read_deployment_schedules(client.read_deployment_by_name(DEPLOYMENT).id)
    return sorted(found, key=lambda schedule: str(schedule.id))


def test_it_refuses_to_turn_to_another_store(
    settings: Settings, tmp_path: Path, prefect_client: SyncPrefectClient
) -> None:
    """What would lose sight of backups is left to the command line."""
    (tmp_path / "other").mkdir(mode=0o700)
    changed = settings.model_copy(update={"convault_store_url": (tmp_path / "other").as_uri()})
    with served(create_app(changed)) as url, client_of(url) as client:
        answer = client.post(f"{PATH}/init")
    told = problem(answer, 500, "repository")
    assert "--new-repository" in str(told["detail"])
    assert not list((tmp_path / "other").iterdir())
