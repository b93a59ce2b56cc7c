"""A Prefect server that is lost, and a new one on which `init` makes the schedules again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterCreatedBy
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import Completed

from api.app import create_app
from convault.catalog.base import Catalog
from convault.schedule import id_of
from convault.settings import Settings
from deployments.facts import examine_schedules
from deployments.start import DEPLOYMENT
from tests.cli.conftest import process
from tests.patience import awaited
from tests.prefect_server import PrefectServer, running
from tests.serving import PATH, client_of, problem, served

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]

SCHEDULER = f"{PATH}/scheduler"
OPTIONS = {"compressionLevel": 9}
NEVER = datetime.max.replace(tzinfo=UTC)
MINUS_THREE = timezone(timedelta(hours=-3))
RULE = "DTSTART:20260105T080000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE\nEXDATE:20260107T080000"


def made(schedule: Any, slug: str | None = None, **others: Any) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(schedule=schedule, slug=slug, **others)


BY_CLIENT = [
    made(
        IntervalSchedule(
            interval=timedelta(hours=6),
            anchor_date=datetime(2026, 1, 1, 9, 30, 0, 250_000, MINUS_THREE),
            timezone="America/Sao_Paulo",
        ),
        "six-hours", parameters={"options": OPTIONS},
    ),
    made(IntervalSchedule(interval=timedelta(seconds=90.5)), active=False),
    made(IntervalSchedule(interval=timedelta(days=7), timezone="Europe/Berlin"), "Every week",
         active=False),
    made(RRuleSchedule(rrule=RULE, timezone="Asia/Tokyo"), "rule", parameters={"options": OPTIONS}),
    made(RRuleSchedule(rrule="FREQ=MINUTELY;INTERVAL=90", timezone="Asia/Tokyo"), active=False),
    made(RRuleSchedule(rrule="RDATE:20300101T000000Z,20310101T000000Z"), "dates"),
    made(CronSchedule(cron="0 2 1-7 * 1", timezone="UTC", day_or=False), "first-monday"),
    made(CronSchedule(cron="@weekly", timezone="Asia/Tokyo"), active=False),
    made(CronSchedule(cron="0 0 * * L5", timezone="UTC"), "last-friday"),
    made(CronSchedule(cron="0 2 * * 1 30", timezone="UTC"), "with-seconds", active=False),
]  # fmt: skip
BY_UI: list[dict[str, Any]] = [
    {"active": False, "schedule": {
        "interval": 3600, "anchor_date": "2026-01-01T00:00:00.000Z", "timezone": "Asia/Kolkata"}},
    {"active": True, "schedule": {
        "rrule": "DTSTART:20260101T000000\nRRULE:FREQ=MONTHLY;BYDAY=-1FR", "timezone": "UTC"}},
]  # fmt: skip
"""requests as its forms send them"""


@contextmanager
def talking(settings: Settings, server: PrefectServer) -> Iterator[httpx.Client]:
    """A client of the API, behind which is this Prefect server."""
    with (
        temporary_settings({PREFECT_API_URL: server.url, PREFECT_HOME: server.home}),
        served(create_app(settings)) as url,
        client_of(url) as client,
    ):
        yield client


def shown(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """By name."""
    answer = client.get(f"{SCHEDULER}/status").raise_for_status()
    return {schedule["name"]: schedule for schedule in answer.json()["schedules"]}


def on_server(prefect: SyncPrefectClient) -> dict[str | None, DeploymentSchedule]:
    """By slug."""
    deployment = prefect.read_deployment_by_name(DEPLOYMENT)
    return {found.slug: found for found in prefect.read_deployment_schedules(deployment.id)}


def alike(found: dict[str | None, DeploymentSchedule]) -> dict[str | None, Any]:
    """All of them that a new server has as well: not ids and times of its own."""
    return {
        slug: each.model_dump(include={"schedule", "active", "parameters"})
        for slug, each in found.items()
    }


def planned(prefect: SyncPrefectClient, schedule: DeploymentSchedule) -> list[FlowRun]:
    """The schedule's runs, as soon as there are two."""
    ours = FlowRunFilter(created_by=FlowRunFilterCreatedBy(id_=[schedule.id]))
    found = awaited(lambda: len(runs := prefect.read_flow_runs(flow_run_filter=ours)) > 1 and runs)
    return sorted(
        found, key=lambda run: run.expected_start_time or datetime.max.replace(tzinfo=UTC)
    )


@pytest.fixture(autouse=True)
def cleared(prefect_client: SyncPrefectClient, catalog: Catalog) -> Iterator[None]:
    """The tests' server has the schedules of prefect.yaml before and after, the catalog none."""
    before = on_server(prefect_client)
    yield
    deployment = prefect_client.read_deployment_by_name(DEPLOYMENT).id
    for each in prefect_client.read_deployment_schedules(deployment):
        if each.slug is None or each.slug not in before:
            prefect_client.delete_deployment_schedule(deployment, each.id)
    daily = before["daily"]
    prefect_client.update_deployment_schedule(
        deployment, daily.id, active=daily.active, schedule=daily.schedule, parameters={}
    )
    for row in catalog.schedules():
        catalog.delete_schedule(row.id)


def make(prefect: SyncPrefectClient, name: str) -> DeploymentSchedule:
    """The one of that slug."""
    deployment = prefect.read_deployment_by_name(DEPLOYMENT).id
    wanted = [each for each in BY_CLIENT if each.slug == name]
    [found] = prefect.create_deployment_schedules(deployment, wanted)
    return found


def make_all(prefect: SyncPrefectClient) -> set[str]:
    """As Prefect's client and its UI do; the ids of those without a slug."""
    deployment = prefect.read_deployment_by_name(DEPLOYMENT).id
    by_client = prefect.create_deployment_schedules(deployment, BY_CLIENT)
    by_ui = prefect.request(
        "POST", "/deployments/{id}/schedules", path_params={"id": deployment}, json=BY_UI
    )
    unnamed = {str(each.id) for each in by_client if each.slug is None}
    return unnamed | {each["id"] for each in by_ui.json()}


@pytest.mark.long
def test_a_new_server_gets_every_schedule_as_it_was(
    settings: Settings, prefect_client: SyncPrefectClient, prefect_server: PrefectServer,
    catalog: Catalog, tmp_path: Path,
) -> None:  # fmt: skip
    unnamed = make_all(prefect_client)
    with talking(settings, prefect_server) as client:
        # prefect.yaml has it switched off; that somebody wants it must not be lost either.
        daily = {"is_active": True, "timezone": "Asia/Tokyo"}
        client.patch(f"{SCHEDULER}/{id_of('daily')}", json=daily).raise_for_status()
        first, *_ = planned(prefect_client, on_server(prefect_client)["six-hours"])
        prefect_client.set_flow_run_state(first.id, Completed(), force=True)
        told = shown(client)
        before = on_server(prefect_client)
    assert set(told) == {"daily", *(each.slug for each in BY_CLIENT if each.slug), *unnamed}
    assert told["six-hours"]["schedule"] == "R/2026-01-01T09:30:00.250000-03:00/PT21600S"
    assert told["six-hours"]["last_run_at"] is not None
    assert told["rule"]["schedule"] == RULE
    assert told["first-monday"]["schedule"] == "0 2 1-7 * 1 day_or=false"
    assert {row.name for row in catalog.schedules()} == set(told)
    with running() as other:
        with talking(settings, other) as client, get_client(sync_client=True) as prefect:
            answer = client.post(f"{PATH}/init").raise_for_status().json()
            assert (set(answer["schedules"]), answer["not_made"]) == (set(told), {})
            assert alike(on_server(prefect)) == alike(before)
            # Mondays and Wednesdays at 08:00 in Tokyo.
            runs = planned(prefect, on_server(prefect)["rule"])
            due = [run.expected_start_time for run in runs if run.expected_start_time]
            assert {(moment.isoweekday(), moment.hour) for moment in due} == {(7, 23), (2, 23)}
            again = shown(client)
            assert client.post(f"{PATH}/init").json()["schedules"] == []
        assert datetime.fromisoformat(again["rule"]["next_run_at"]) == due[0]
        assert all(schedule["on_server"] for schedule in again.values())
        same = ("id", "schedule", "timezone", "options", "is_active", "last_run_at")
        for name, was in told.items():
            assert {key: again[name][key] for key in same} == {key: was[key] for key in same}
        what_cannot_be_used_keeps_no_other_from_it(settings, other, tmp_path)


def what_cannot_be_used_keeps_no_other_from_it(
    settings: Settings, server: PrefectServer, folder: Path
) -> None:
    """Of a newer version of Convault, of another Prefect, or of somebody who knows SQL."""
    odd = {
        "six-hours": ("R/tomorrow/PT5S", "UTC"),
        "rule": ("RRULE:INTERVAL=2", "UTC"),
        "dates": ("RDATE:20300101T000000Z", "Mars/Olympus"),
        "daily": ("AT;dawn", "UTC"),
    }
    with psycopg.connect(settings.catalog_url()) as connection:
        for name, change in odd.items():
            connection.execute(
                "UPDATE public.backup_schedules SET schedule = %s, timezone = %s WHERE name = %s",
                [*change, name],
            )
    environment = {
        "DATABASE_URL": settings.source_url(), "PREFECT_API_URL": server.url,
        "CONVAULT_STORE_URL": settings.store_url(), "PREFECT_HOME": str(server.home),
    }  # fmt: skip
    with talking(settings, server) as client, get_client(sync_client=True) as prefect:
        prefect.delete_deployment(prefect.read_deployment_by_name(DEPLOYMENT).id)
        done = process(folder, "init", "--json", **environment)
        assert done.returncode == 0, done.stderr
        assert set(json.loads(done.stdout)["not_made"]) == set(odd)
        assert set(json.loads(done.stdout)["schedules"]) == {
            row for row in shown(client) if row not in odd
        }
        for name, (text, zone) in odd.items():
            [line] = [line for line in done.stderr.splitlines() if f"schedule {name} was" in line]
            assert f"was not made again: `backup_schedules` says {text!r} in {zone!r}." in line
        answer = client.post(f"{PATH}/init").raise_for_status().json()
        assert (answer["schedules"], set(answer["not_made"])) == ([], {*odd} - {"daily"})
        # They are shown, and can be changed and removed as the line says.
        told = shown(client)
        assert {name for name, each in told.items() if not each["on_server"]} == {
            "six-hours", "rule", "dates",
        }  # fmt: skip
        assert told["daily"]["schedule"] == "daily", "as prefect.yaml says"
        one = f"{SCHEDULER}/{told['six-hours']['id']}"
        problem(client.patch(one, json={"is_active": False}), 422, "options")
        assert client.patch(one, json={"schedule": "weekly"}).json()["schedule"] == "weekly"
        assert on_server(prefect)["six-hours"].parameters == {"options": OPTIONS}
        assert client.delete(f"{SCHEDULER}/{told['rule']['id']}").status_code == 204
        assert client.patch(
            f"{SCHEDULER}/{told['dates']['id']}", json={"timezone": "UTC"}
        ).is_success
        assert client.post(f"{PATH}/init").json()["not_made"] == {}


@pytest.mark.parametrize("name", ["six-hours", "rule", "first-monday", "last-friday"])
def test_a_change_leaves_the_timing_as_it_is(
    settings: Settings, prefect_client: SyncPrefectClient, prefect_server: PrefectServer,
    catalog: Catalog, name: str,
) -> None:  # fmt: skip
    before = make(prefect_client, name).schedule
    one = f"{SCHEDULER}/{id_of(name)}"
    with talking(settings, prefect_server) as client:
        off = client.post(f"{SCHEDULER}/toggle", json={"id": str(id_of(name)), "isActive": False})
        assert (off.status_code, off.json()["is_active"]) == (200, False)
        text = off.json()["schedule"]
        # What it was told a client may say again.
        changed = client.patch(
            one, json={"schedule": text, "options": {"format": "csv"}, "is_active": True}
        ).raise_for_status()
        assert client.patch(one, json={}).json()["schedule"] == text
        found = on_server(prefect_client)[name]
        assert (found.schedule, found.active) == (before, True)
        assert found.parameters["options"]["format"] == "csv"
        [row] = [row for row in catalog.schedules() if row.name == name]
        assert (row.schedule, row.options) == (text, changed.json()["options"])
        # Another zone is the one thing of it that is set; another interval is not made here.
        planned(prefect_client, found)
        was = shown(client)[name]["next_run_at"]
        moved = client.patch(one, json={"timezone": "Asia/Kolkata"}).raise_for_status().json()
        assert (moved["schedule"], moved["timezone"]) == (text, "Asia/Kolkata")
        assert moved["next_run_at"] != was or name == "six-hours", "that was at another hour"
        expected = {**before.model_dump(), "timezone": "Asia/Kolkata"}
        assert on_server(prefect_client)[name].schedule.model_dump() == expected
        for other in ("R/2026-01-01T00:00:00+00:00/PT60S", "RRULE:FREQ=DAILY", f"{text} "):
            problem(client.patch(one, json={"schedule": other}), 422, "options")
            problem(client.post(SCHEDULER, json={"schedule": other}), 422, "options")
        assert client.patch(one, json={"schedule": "weekly"}).json()["schedule"] == "weekly"
    assert on_server(prefect_client)[name].schedule == CronSchedule(
        cron="0 3 * * 0", timezone="Asia/Kolkata"
    )


@pytest.mark.parametrize("name", ["six-hours", "rule"])
def test_when_it_ran_and_when_it_will_is_told(
    settings: Settings, prefect_client: SyncPrefectClient, prefect_server: PrefectServer,
    catalog: Catalog, name: str,
) -> None:  # fmt: skip
    runs = planned(prefect_client, make(prefect_client, name))
    with talking(settings, prefect_server) as client:
        told = shown(client)[name]
        assert datetime.fromisoformat(told["next_run_at"]) == runs[0].expected_start_time
        assert (told["last_run_at"], told["last_result"], told["overdue"]) == (None, None, False)
        # With any change the server removes what it planned, until it plans it again.
        other = {"id": str(id_of("daily")), "is_active": False}
        client.post(f"{SCHEDULER}/toggle", json=other).raise_for_status()
        assert shown(client)[name]["next_run_at"] == told["next_run_at"]
        runs = planned(prefect_client, on_server(prefect_client)[name])
        prefect_client.set_flow_run_state(runs[0].id, Completed(), force=True)
        told = shown(client)[name]
    assert (told["last_result"], told["overdue"]) == ("Completed", False)
    assert told["last_run_at"] is not None
    due = runs[1].expected_start_time
    assert due is not None
    assert datetime.fromisoformat(told["next_run_at"]) == due
    # Time passes, and nobody works.
    found = examine_schedules(catalog, due + timedelta(minutes=6))
    assert f"overdue: {name}" in found.found
    assert name not in examine_schedules(catalog, due + timedelta(minutes=4)).found
    prefect_client.delete_flow_run(runs[0].id)
