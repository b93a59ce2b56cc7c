"""One run for each time that a schedule comes due; after an outage, for the newest alone."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterCreatedBy
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort

from convault.catalog.base import BackupRecord, BackupStatus
from convault.installation import initialise, open_installation
from convault.settings import Settings
from deployments import DEPLOYMENT
from flows import slots
from flows.slots import Slot, backup_of_slot, newest_slot_only, slot_id
from tests.patience import awaited
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]
DUE = datetime(2026, 3, 1, 2, tzinfo=UTC)


@pytest.mark.long
def test_of_those_that_were_missed_only_the_newest_is_run(
    prefect_api: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real server, whose schedule comes due while nobody works. Its word alone counts: by the
    clock of this process, which is a year ahead, every run there is came due long ago."""
    deploy(prefect_api)
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT).id
        [schedule] = client.create_deployment_schedules(
            deployment,
            [
                DeploymentScheduleCreate(
                    schedule=IntervalSchedule(interval=timedelta(seconds=10)),
                    active=True,
                    slug="often",
                )
            ],
        )
        ours = FlowRunFilter(created_by=FlowRunFilterCreatedBy(id_=[schedule.id]))

        def planned() -> tuple[list[FlowRun], list[FlowRun]]:
            """Those that are late and those to come, the earliest first."""
            found = client.read_flow_runs(
                flow_run_filter=ours, sort=FlowRunSort.EXPECTED_START_TIME_ASC
            )
            return tuple(
                [run for run in found if run.state_name == s] for s in ("Late", "Scheduled")
            )

        def looked_at() -> list[str] | None:
            """How three of them end; None where there are not two that are late, or where one more
            was when all had ended."""
            late, future = planned()
            if len(late) < 2:
                return None
            ended = [_ended(run, monkeypatch) for run in (late[0], late[-1], future[-1])]
            return ended if len(planned()[0]) == len(late) else None

        try:
            ended = awaited(looked_at)
        finally:
            client.delete_deployment_schedule(deployment, schedule.id)
            for run in client.read_flow_runs(flow_run_filter=ours):
                client.delete_flow_run(run.id)
    assert ended == ["Cancelled", "run", "run"]


def _ended(run: FlowRun, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the flow ends as that run."""
    assert run.created_by is not None
    assert run.created_by.id is not None
    assert run.expected_start_time is not None
    slot = Slot(run.created_by.id, str(run.created_by.display_value), run.expected_start_time)
    assert slot.name == "often"
    monkeypatch.setattr(slots, "current_slot", lambda: slot)
    monkeypatch.setattr(slots, "get_run_logger", lambda: logging.getLogger("test"))
    result: object = newest_slot_only(lambda: "run")()
    return str(getattr(result, "name", result))


def test_without_a_schedule_nothing_is_asked() -> None:
    assert newest_slot_only(lambda: "run")() == "run"


def test_a_slot_is_the_same_whatever_server_starts_it() -> None:
    installation = uuid4()
    one, other = Slot(uuid4(), "nightly", DUE), Slot(uuid4(), "nightly", DUE)
    assert slot_id(one, installation) == slot_id(other, installation)
    assert slot_id(one, installation) != slot_id(one, uuid4())
    assert slot_id(one, installation) != slot_id(Slot(uuid4(), "weekly", DUE), installation)
    later = Slot(uuid4(), "nightly", DUE + timedelta(days=1))
    assert slot_id(one, installation) != slot_id(later, installation)


def test_its_backup_is_made_once_unless_it_failed(
    database: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(database_url=database, convault_store_url=f"file://{tmp_path}/store")
    initialise(settings)
    catalog = open_installation(settings).catalog
    slot = Slot(uuid4(), "nightly", DUE)
    assert backup_of_slot(catalog) != backup_of_slot(catalog)  # somebody asked
    monkeypatch.setattr(slots, "current_slot", lambda: slot)
    first = backup_of_slot(catalog)
    assert backup_of_slot(catalog) == first
    catalog.add(
        BackupRecord(
            id=first, status=BackupStatus.PENDING, options={}, created_at=DUE, updated_at=DUE,
            repository_id=catalog.repository_id(),
        )
    )  # fmt: skip
    assert backup_of_slot(catalog) == first  # and `begin` refuses the second
    ran = slots.one_backup_per_slot(lambda: "run")
    monkeypatch.setattr(slots, "_superseded", lambda _: False)
    monkeypatch.setattr(slots, "get_run_logger", lambda: logging.getLogger("test"))
    monkeypatch.setenv("DATABASE_URL", database)
    assert getattr(ran(), "name", None) == "Cancelled"
    catalog.update(first, status=BackupStatus.FAILED, error="no")
    assert ran() == "run"
    assert backup_of_slot(catalog) != first
