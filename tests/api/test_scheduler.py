"""`/scheduler` on a real Prefect server: what is made here is there, and the other way round."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterCreatedBy
from prefect.client.schemas.objects import DeploymentSchedule, StateType
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Late

from api.app import create_app
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.models import BackupOptions
from convault.schedule import id_of
from convault.settings import Settings
from deployments import DEPLOYMENT, start_backup
from deployments.schedules import Rebuilt, rebuild
from deployments.stack.worker import Worker
from deployments.workers import POOL
from tests.patience import awaited
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy, forget_due, forget_workers
from tests.serving import PATH, client_of, problem, served

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]

SCHEDULER = f"{PATH}/scheduler"


@pytest.fixture
def url(settings: Settings, prefect_api: PrefectServer) -> Iterator[str]:
    deploy(prefect_api)
    with served(create_app(settings)) as url:
        yield url


@pytest.fixture
def prefect(prefect_api: PrefectServer) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(autouse=True)
def cleared(url: str, prefect: SyncPrefectClient, catalog: Catalog) -> Iterator[None]:
    """The schedules are those of prefect.yaml before and after."""
    yield
    deployment = prefect.read_deployment_by_name(DEPLOYMENT)
    for schedule in prefect.read_deployment_schedules(deployment.id):
        if schedule.slug != "daily":
            prefect.delete_deployment_schedule(deployment.id, schedule.id)
    for row in catalog.schedules():
        catalog.delete_schedule(row.id)


def on_server(prefect: SyncPrefectClient) -> dict[str | None, DeploymentSchedule]:
    """Schedules by slug."""
    deployment = prefect.read_deployment_by_name(DEPLOYMENT)
    return {found.slug: found for found in prefect.read_deployment_schedules(deployment.id)}


def shown(client: httpx.Client) -> dict[str, dict[str, object]]:
    """By name."""
    schedules = client.get(f"{SCHEDULER}/status").json()["schedules"]
    return {schedule["name"]: schedule for schedule in schedules}


def test_a_schedule_is_made_on_the_server_and_in_the_catalog(
    client: httpx.Client, prefect: SyncPrefectClient, catalog: Catalog
) -> None:
    body = {
        "schedule": "30 1 * * *", "timezone": "America/Sao_Paulo", "name": "before-school",
        "options": {"compression_level": 9},
    }  # fmt: skip
    answer = client.post(SCHEDULER, json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"{SCHEDULER}/{made['id']}"
    there = on_server(prefect)["before-school"]
    assert there.active
    assert there.parameters["options"]["compressionLevel"] == 9
    due = datetime.fromisoformat(shown(client)["before-school"]["next_run_at"])  # type: ignore[arg-type]
    local = due.astimezone(ZoneInfo("America/Sao_Paulo"))
    assert (local.hour, local.minute) == (1, 30)
    assert timedelta(0) < due - datetime.now(UTC) <= timedelta(days=1, minutes=1)
    [row] = [row for row in catalog.schedules() if row.name == "before-school"]
    assert (str(row.id), row.schedule, row.timezone) == (made["id"], "30 1 * * *", row.timezone)
    # The same once more is the same; another one of that name is refused.
    assert client.post(SCHEDULER, json=body).json()["id"] == made["id"]
    problem(client.post(SCHEDULER, json={**body, "timezone": "UTC"}), 409, "busy")


def test_words_and_made_up_names(client: httpx.Client, prefect: SyncPrefectClient) -> None:
    expected = {"daily": "0 2 * * *", "weekly": "0 3 * * 0", "monthly": "0 4 1 * *"}
    for word, line in expected.items():
        made = client.post(SCHEDULER, json={"schedule": word, "isActive": False}).json()
        assert made["schedule"] == word
        assert made["name"].startswith(f"{word}-")
        assert made["is_active"] is False
        assert on_server(prefect)[made["name"]].schedule.cron == line  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "schedule"),
        ({"schedule": "hourly"}, "schedule"),
        ({"schedule": "0 0 31 2 *"}, "schedule"),
        ({"schedule": "0 0 * * 5L"}, "schedule"),
        ({"schedule": "0 0 LW * *"}, "schedule"),
        ({"schedule": "daily", "is_active": True, "isActive": False}, "isActive"),
        ({"schedule": "daily", "timezone": "right/UTC"}, "timezone"),
        ({"schedule": "daily", "timezone": ""}, "timezone"),
        ({"schedule": "daily", "name": "a\u0000b"}, "name"),
        ({"schedule": "daily", "timezone": "Mars/Olympus"}, "timezone"),
        ({"schedule": "daily", "name": "Every night"}, "name"),
        ({"schedule": "daily", "options": {"compressionLevel": 99}}, "compressionLevel"),
        ({"schedule": "daily", "options": {"tables": ["hunter2_*"]}}, "tables"),
        ({"schedule": "daily", "hurry": 1}, "hurry"),
        ("daily", "body"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_made(
    client: httpx.Client, prefect: SyncPrefectClient, body: object, named: str
) -> None:
    answer = client.post(SCHEDULER, json=body)
    assert answer.status_code in {422, 404, 409}, answer.text
    assert named in answer.json()["detail"]
    assert set(on_server(prefect)) == {"daily"}


def test_switching_changing_and_removing(
    client: httpx.Client, prefect: SyncPrefectClient, catalog: Catalog
) -> None:
    made = client.post(SCHEDULER, json={"schedule": "weekly", "name": "weekly-full"}).json()
    for spelling, value in (("is_active", False), ("isActive", False), ("isActive", True)):
        answer = client.post(f"{SCHEDULER}/toggle", json={"id": made["id"], spelling: value})
        assert answer.json()["is_active"] is value
        assert on_server(prefect)["weekly-full"].active is value
    one = f"{SCHEDULER}/{made['id']}"
    changed = client.patch(one, json={"schedule": "0 5 * * 6", "options": {"format": "csv"}}).json()
    assert (changed["schedule"], changed["options"]["format"]) == ("0 5 * * 6", "csv")
    assert (changed["is_active"], changed["timezone"]) == (True, "UTC")
    assert on_server(prefect)["weekly-full"].schedule.cron == "0 5 * * 6"  # type: ignore[union-attr]
    problem(client.patch(one, json={"timezone": "Nowhere"}), 422, "options")
    assert client.delete(one).status_code == 204
    assert set(on_server(prefect)) == {"daily"}
    assert "weekly-full" not in {row.name for row in catalog.schedules()}
    problem(client.delete(one), 404, "not-found")
    problem(client.patch(one, json={}), 404, "not-found")
    answer = client.post(f"{SCHEDULER}/toggle", json={"id": str(uuid4()), "is_active": True})
    problem(answer, 404, "not-found")


def test_what_prefect_made_shows_too(
    client: httpx.Client, prefect: SyncPrefectClient, catalog: Catalog
) -> None:
    """The one of prefect.yaml, and an interval as the UI makes them, without a slug."""
    deployment = prefect.read_deployment_by_name(DEPLOYMENT)
    [interval] = prefect.create_deployment_schedules(
        deployment.id, [(IntervalSchedule(interval=timedelta(hours=6)), False)]
    )
    seen = shown(client)
    assert (seen["daily"]["schedule"], seen["daily"]["is_active"]) == ("daily", False)
    assert seen["daily"]["id"] == str(id_of("daily"))
    assert str(seen[str(interval.id)]["schedule"]).endswith("/PT21600S")
    toggled = client.post(f"{SCHEDULER}/toggle", json={"id": str(interval.id), "is_active": True})
    assert toggled.json()["is_active"] is True
    assert client.delete(f"{SCHEDULER}/{interval.id}").status_code == 204
    assert [row.name for row in catalog.schedules()] == ["daily"]


def test_they_survive_a_new_deploy_and_a_lost_server(
    client: httpx.Client, prefect: SyncPrefectClient, prefect_api: PrefectServer, catalog: Catalog
) -> None:
    deployment = prefect.read_deployment_by_name(DEPLOYMENT).id
    by_hand = CronSchedule(cron="0  5 * * *", timezone="Asia/Tokyo")  # in the UI, without a name
    [unnamed] = prefect.create_deployment_schedules(deployment, [(by_hand, False)])
    assert str(unnamed.id) in shown(client)
    made = client.post(SCHEDULER, json={"schedule": "monthly", "name": "kept"}).json()
    ids = {"kept": made["id"], str(unnamed.id): str(unnamed.id)}
    done = prefect_api.prefect("deploy", "--all", "--no-prompt")
    assert done.returncode == 0, done.stdout + done.stderr
    there = on_server(prefect)
    assert set(there) == {"daily", *ids}
    # As a server would be that was made anew: it knows what prefect.yaml says.
    for name in ids:
        prefect.delete_deployment_schedule(deployment, there[name].id)
    lost = shown(client)
    assert {name: lost[name]["id"] for name in ids} == ids
    assert not any(lost[name]["on_server"] for name in ids)
    assert set(rebuild(catalog).made) == set(ids)
    assert rebuild(catalog) == Rebuilt()
    again = shown(client)
    assert {name: again[name]["id"] for name in ids} == ids
    assert all(again[name]["on_server"] for name in ids)
    assert again["kept"]["schedule"] == "monthly"
    was = again[str(unnamed.id)]
    assert (was["schedule"], was["timezone"], was["is_active"]) == (
        "0 5 * * *", "Asia/Tokyo", False,
    )  # fmt: skip


def test_what_prefect_alone_understands_is_shown_and_switched(
    client: httpx.Client, prefect: SyncPrefectClient
) -> None:
    deployment = prefect.read_deployment_by_name(DEPLOYMENT).id
    lines = ("0 0 * * L5", "0 0 30 2 *", "@weekly")
    for line in lines:
        prefect.create_deployment_schedules(deployment, [(CronSchedule(cron=line), False)])
    odd = {str(found["schedule"]): found for found in shown(client).values()}
    for line in lines:
        asked = {"id": odd[line]["id"], "is_active": False}
        answer = client.post(f"{SCHEDULER}/toggle", json=asked)
        assert (answer.status_code, answer.json()["next_run_at"]) == (200, None)


def test_of_many_who_make_the_same_at_once_one_makes_it(
    client: httpx.Client, prefect: SyncPrefectClient
) -> None:
    body = {"schedule": "weekly", "name": "same", "is_active": False}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post(SCHEDULER, json=body), range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    deployment = prefect.read_deployment_by_name(DEPLOYMENT)
    assert sorted(str(each.slug) for each in deployment.schedules) == ["daily", "same"]


def test_a_run_that_is_due_outlives_another_schedule(
    client: httpx.Client, prefect: SyncPrefectClient, prefect_api: PrefectServer
) -> None:
    """Nobody worked when it came due; Prefect would remove it with the other schedule. A worker
    takes it before what somebody asked for."""
    forget_due(prefect_api)  # of earlier tests: some may be late by now
    due, other = (
        client.post(SCHEDULER, json={"schedule": "daily", "name": name}).json()["name"]
        for name in ("due", "other")
    )
    schedules = on_server(prefect)
    ours = FlowRunFilter(created_by=FlowRunFilterCreatedBy(id_=[schedules[due].id]))
    runs = awaited(lambda: prefect.read_flow_runs(flow_run_filter=ours))
    late = min(runs, key=lambda run: run.expected_start_time or datetime.max.replace(tzinfo=UTC))
    a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    prefect.set_flow_run_state(late.id, Late(scheduled_time=a_minute_ago))
    # What is asked for is due at once, and late as well when it has waited for 15 s.
    told = client.get(f"{SCHEDULER}/status").json()
    asked = start_backup(BackupOptions(), uuid4())

    async def taken() -> set[UUID]:
        async with Worker(work_pool_name=POOL, name="looks") as worker:
            return {entry.flow_run.id for entry in await worker._get_scheduled_flow_runs()}

    try:
        assert told["workers"]["late_runs"] == 1
        assert client.delete(f"{SCHEDULER}/{id_of(other)}").status_code == 204
        still = prefect.read_flow_run(late.id)
        assert still.state is not None
        assert still.state.type is StateType.SCHEDULED
        assert (still.expected_start_time, still.created_by) == (
            late.expected_start_time, late.created_by,
        )  # fmt: skip
        assert asyncio.run(taken()) == {late.id}
        prefect.delete_flow_run(late.id)
        assert asyncio.run(taken()) == {asked}
    finally:
        for run in (late.id, asked):
            with suppress(ObjectNotFound):
                prefect.delete_flow_run(run)
        forget_workers(prefect_api)


def test_status_tells_how_backups_go(client: httpx.Client, catalog: Catalog) -> None:
    told = client.get(f"{SCHEDULER}/status").json()
    assert set(told["totals"]) >= {"pending", "processing", "completed", "failed", "total"}
    assert set(told["totals"].values()) == {0}
    assert told["success_rate"] is None
    assert told["recent"] == []
    assert set(told["workers"]) == {"online", "last_heartbeat_at", "paused", "late_runs"}
    now = datetime.now(UTC)
    ended = ["completed", "completed", "failed", "pending", "processing", "deleted"] * 2
    rows = [
        catalog.add(
            BackupRecord(
                id=uuid4(), status=BackupStatus(status), options={}, created_at=now, updated_at=now
            )
        )
        for status in ended
    ]
    told = client.get(f"{SCHEDULER}/status").json()
    assert told["totals"] == {
        "completed": 4, "failed": 2, "pending": 2, "processing": 2, "deleted": 2, "total": 12,
    }  # fmt: skip
    assert told["success_rate"] == 4 / 6
    assert [row["id"] for row in told["recent"]] == [
        str(row.id) for row in reversed(rows) if row.status is not BackupStatus.DELETED
    ]


def test_without_a_prefect_server_it_is_503(settings: Settings, closed_port: int) -> None:
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api"}),
        served(create_app(settings)) as url,
        client_of(url) as client,
    ):
        problem(client.get(f"{SCHEDULER}/status"), 503, "prefect-unavailable")
        answer = client.post(SCHEDULER, json={"schedule": "daily"})
        problem(answer, 503, "prefect-unavailable")
        problem(client.delete(f"{SCHEDULER}/{UUID(int=1)}"), 503, "prefect-unavailable")
