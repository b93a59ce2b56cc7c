"""The deployment of prefect.yaml, on a real server with a real worker, started in every way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from prefect.client.schemas.schedules import IntervalSchedule

from convault.catalog import BackupRecord, BackupStatus
from convault.embedded.server import EmbeddedPostgres
from convault.models import BackupOptions
from deployments import DEPLOYMENT, cancel, start_backup
from tests.flows.application import Application, build, database, held_back
from tests.patience import PATIENCE, awaited
from tests.prefect_server import CHECKOUT, PrefectServer
from tests.prefect_worker import worker

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]


@pytest.fixture(scope="module")
def deployed(
    cluster: EmbeddedPostgres,
    prefect_server: PrefectServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Application]:
    """An application, the deployment, and a worker that runs it."""
    folder = tmp_path_factory.mktemp("deployed")
    with database(cluster) as url, database(cluster) as catalog_url:
        application = build(
            url, catalog_url, folder / "store", messages=200, CONVAULT_LOCK_TIMEOUT=str(PATIENCE)
        )
        with worker(prefect_server, application.environment, folder / "worker.log"):
            yield application


def completed(
    application: Application, log: Path, wanted: Callable[[BackupRecord], bool]
) -> BackupRecord:
    """The first completed row that is wanted, as soon as there is one."""
    catalog = application.installation().catalog
    deadline = time.monotonic() + PATIENCE
    while True:
        rows = [row for row in catalog.list() if wanted(row)]
        failed = [row.error for row in rows if row.status is BackupStatus.FAILED]
        assert not failed
        done = [row for row in rows if row.status is BackupStatus.COMPLETED]
        if done:
            return done[0]
        assert time.monotonic() < deadline, (rows, log.read_text()[-3000:])
        time.sleep(0.3)


@pytest.fixture
def finished(
    deployed: Application,
) -> Callable[[Callable[[BackupRecord], bool]], BackupRecord]:
    return lambda wanted: completed(deployed, deployed.store.parent / "worker.log", wanted)


def deployment_of(server: PrefectServer) -> dict[str, Any]:
    found: dict[str, Any] = server.ask(f"/deployments/name/{DEPLOYMENT}")
    return found


Finished = Callable[[Callable[[BackupRecord], bool]], BackupRecord]


def test_the_command_line_starts_it(
    deployed: Application, prefect_server: PrefectServer, finished: Finished
) -> None:
    answer = prefect_server.prefect(
        "deployment", "run", DEPLOYMENT, "--params", '{"options": {"compressionLevel": 9}}'
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    record = finished(lambda row: row.options["compressionLevel"] == 9)
    assert record.rows == 2 + 50 + 200


def test_the_ui_starts_it(
    deployed: Application, prefect_server: PrefectServer, finished: Finished
) -> None:
    """The request that the UI's "Custom run" makes."""
    run = prefect_server.request(
        "POST",
        f"/deployments/{deployment_of(prefect_server)['id']}/create_flow_run",
        {
            "state": {"type": "SCHEDULED", "state_details": {}},
            "parameters": {"options": {"compressionLevel": 8}},
        },
    ).raise_for_status()
    record = finished(lambda row: row.flow_run_id == UUID(run.json()["id"]))
    assert record.options["compressionLevel"] == 8


def test_the_schedule_starts_it(
    deployed: Application, prefect_server: PrefectServer, finished: Finished
) -> None:
    schedules = f"/deployments/{deployment_of(prefect_server)['id']}/schedules"
    # Due in four seconds; a server that is too busy to plan it by then plans the next one. A run
    # that has not begun by then leaves the backup to that one.
    soon = IntervalSchedule(
        interval=timedelta(seconds=120), anchor_date=datetime.now(UTC) + timedelta(seconds=4)
    )
    schedule = {
        "active": True,
        "slug": "soon",
        "parameters": {"options": {"compressionLevel": 7}},
        "schedule": soon.model_dump(mode="json"),
    }
    made = prefect_server.ask(schedules, [schedule])
    record = finished(lambda row: row.options["compressionLevel"] == 7)
    run = prefect_server.ask(f"/flow_runs/{record.flow_run_id}")
    assert run["created_by"]["type"] == "SCHEDULE"
    prefect_server.request("DELETE", f"{schedules}/{made[0]['id']}").raise_for_status()


def test_the_api_starts_it_under_the_rows_id_and_once(
    deployed: Application, prefect_api: PrefectServer, finished: Finished
) -> None:
    backup_id = uuid4()
    options = BackupOptions(compression_level=6)
    run_id = start_backup(options, backup_id)
    assert start_backup(options, backup_id) == run_id
    record = finished(lambda row: row.id == backup_id)
    assert record.flow_run_id == run_id
    assert record.options == options.to_json()


@pytest.mark.parametrize(
    "parameters",
    [
        {"options": {"compressionlevel": 9}},
        {"options": {"compressionLevel": 23}},
        {"options": {"compressionLevel": "much"}},
        {"options": {"includeAttachments": "yes"}},
        {"options": {"url": "postgresql://somebody@somewhere/"}},
        {"backup_id": 7},
    ],
    ids=str,
)
def test_the_server_refuses_what_the_flow_does_not_take(
    deployed: Application, prefect_server: PrefectServer, parameters: dict[str, object]
) -> None:
    answer = prefect_server.request(
        "POST",
        f"/deployments/{deployment_of(prefect_server)['id']}/create_flow_run",
        {"state": {"type": "SCHEDULED"}, "parameters": parameters},
    )
    assert answer.status_code == 409, answer.text


@pytest.mark.parametrize(
    "parameters",
    [
        {"backup_id": str(uuid4()), "target": "postgresql://me:secret@somewhere/app"},
        {"backup_id": str(uuid4()), "target": "staging", "options": {"mode": "sometimes"}},
        {"backup_id": str(uuid4()), "target": "staging", "options": {"url": "postgresql://x/"}},
        {"target": "staging"},
    ],
    ids=["a URL", "a mode", "an option", "no backup"],
)
def test_a_restore_takes_names_and_no_urls(
    deployed: Application, prefect_server: PrefectServer, parameters: dict[str, object]
) -> None:
    deployment = prefect_server.ask("/deployments/name/restore/restore")
    answer = prefect_server.request(
        "POST",
        f"/deployments/{deployment['id']}/create_flow_run",
        {"state": {"type": "SCHEDULED"}, "parameters": parameters},
    )
    assert answer.status_code == 409, answer.text


def test_it_is_deployed_as_prefect_yaml_says(
    deployed: Application, prefect_server: PrefectServer
) -> None:
    deployment = deployment_of(prefect_server)
    assert deployment["work_pool_name"] == "convault"
    assert deployment["enforce_parameter_schema"] is True
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    daily = [found for found in deployment["schedules"] if found["slug"] == "daily"]
    assert [(found["active"], found["schedule"]["cron"]) for found in daily] == [
        (False, "0 2 * * *")
    ]
    assert set(deployment["parameter_openapi_schema"]["properties"]) == {"options", "backup_id"}


def test_every_schedule_has_a_slug() -> None:
    """One without would make the next `prefect deploy` drop the others."""
    for deployment in yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]:
        assert all(schedule.get("slug") for schedule in deployment["schedules"])


def test_a_run_that_is_cancelled_says_so_in_its_row(
    deployed: Application, prefect_api: PrefectServer
) -> None:
    """Cancelling sends SIGTERM to the run's process; the lock keeps it busy until then."""
    catalog = deployed.installation().catalog
    backup_id = uuid4()
    with held_back(deployed.url):
        run_id = start_backup(BackupOptions(), backup_id)
        awaited(
            lambda: any(
                row.id == backup_id and row.status is BackupStatus.PROCESSING
                for row in catalog.list()
            )
        )
        assert cancel(run_id)
        awaited(lambda: catalog.get(backup_id).status is not BackupStatus.PROCESSING)
    row = catalog.get(backup_id)
    assert row.status is BackupStatus.FAILED
    assert "cancelled" in (row.error or "")
    awaited(lambda: prefect_api.ask(f"/flow_runs/{run_id}")["state_type"] == "CANCELLED")
    assert not cancel(run_id), "it is over"
