"""The last run of each of many schedules takes few requests to Prefect, and what is told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID, uuid4

import pytest
from prefect._internal.schemas.fields import CreatedBy
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun, State, StateType
from prefect.client.schemas.schedules import CronSchedule, RRuleSchedule
from prefect.client.schemas.sorting import FlowRunSort

from deployments.schedules import OVERDUE, _remembered, _seen, first_runs

NOW = datetime(2026, 3, 4, tzinfo=UTC)


class Answering:
    """Answers as a server does that has these runs, the newest first, 200 at most."""

    def __init__(self, runs: list[FlowRun]) -> None:
        self.runs = sorted(runs, key=lambda run: run.expected_start_time or NOW, reverse=True)
        self.asked = 0

    def read_flow_runs(
        self, *, flow_run_filter: FlowRunFilter, sort: FlowRunSort, limit: int
    ) -> list[FlowRun]:
        assert limit <= 200  # or Prefect refuses
        assert flow_run_filter.created_by is not None
        self.asked += 1
        wanted = flow_run_filter.created_by.id_ or []
        return [run for run in self.runs if made_by(run) in wanted][:limit]


def made_by(run: FlowRun) -> UUID | None:
    return None if run.created_by is None else run.created_by.id


def ran(schedule: UUID, hours: int) -> FlowRun:
    return FlowRun(
        flow_id=uuid4(),
        expected_start_time=NOW - timedelta(hours=hours),
        created_by=CreatedBy(id=schedule, type="SCHEDULE"),
    )


def test_each_has_its_own_and_busy_ones_hide_none() -> None:
    never, yearly, *others = (uuid4() for _ in range(300))
    busy, *daily = others
    runs = [ran(busy, hours) for hours in range(300)]
    runs += [ran(schedule, 24 * day + 5) for schedule in daily for day in range(3)]
    runs += [ran(yearly, 5000)]
    server = Answering(runs)
    found = first_runs(
        cast("SyncPrefectClient", server),
        [never, yearly, *others],
        [StateType.COMPLETED],
        FlowRunSort.EXPECTED_START_TIME_DESC,
    )
    latest = {schedule: run.expected_start_time for schedule, run in found.items()}
    expected = {busy: NOW, yearly: NOW - timedelta(hours=5000)}
    assert latest == expected | dict.fromkeys(daily, NOW - timedelta(hours=5))
    assert server.asked <= 5


@pytest.mark.parametrize(
    ("active", "late", "overdue"),
    [
        (True, OVERDUE + timedelta(seconds=1), True),
        (True, OVERDUE, False),
        (True, timedelta(hours=-1), False),
        (True, None, False),
        (False, timedelta(days=1), False),
    ],
)
def test_what_is_told_of_a_schedule(active: bool, late: timedelta | None, overdue: bool) -> None:
    schedule = DeploymentSchedule(
        id=uuid4(), slug="nightly", active=active, schedule=CronSchedule(cron="0 2 * * *")
    )
    following = None
    if late is not None:
        following = FlowRun(flow_id=uuid4(), expected_start_time=NOW - late)
    last = ran(schedule.id, 22)
    last.state_name, last.state = "Failed", State(type=StateType.FAILED)
    last.start_time = NOW - timedelta(hours=21)
    found = _seen(schedule, last, following, NOW)
    assert found.overdue == overdue
    assert (found.row.last_run_at, found.last_result) == (last.start_time, "Failed")
    due = NOW + timedelta(hours=2) if active else None
    assert found.row.next_run_at == (due if late is None else NOW - late)
    never = _seen(schedule, None, following, NOW)
    assert (never.row.last_run_at, never.last_result) == (None, None)


def test_what_the_server_has_forgotten_the_catalog_tells() -> None:
    """The last run, and the next one of a rule that is still the same and ahead."""
    rule = DeploymentSchedule(
        id=uuid4(), slug="rule", active=True, schedule=RRuleSchedule(rrule="FREQ=DAILY")
    )
    last, following = NOW - timedelta(days=1), NOW + timedelta(hours=1)
    found = _seen(rule, None, None, NOW)
    assert found.row.next_run_at is None
    known = found.row.model_copy(update={"last_run_at": last, "next_run_at": following})
    again = _remembered(found, known, NOW).row
    assert (again.last_run_at, again.next_run_at) == (last, following)
    for changes in (
        {"next_run_at": NOW},
        {"timezone": "Asia/Tokyo"},
        {"schedule": "FREQ=WEEKLY"},
        {"is_active": False},
    ):
        other = known.model_copy(update=changes)
        assert _remembered(found, other, NOW).row.next_run_at is None
    newer = FlowRun(flow_id=uuid4(), expected_start_time=NOW)
    again = _remembered(_seen(rule, newer, newer, NOW), known, NOW).row
    assert (again.last_run_at, again.next_run_at) == (NOW, NOW)
