"""`GET /verify`: what is down is found out, and nothing that it says is written down before."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from api import facts as looking
from api.app import create_app
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.doctor.facts import Check, Fact, ask_all
from convault.doctor.finding import Finding, State, amber, ok, red
from convault.doctor.lately import judge_age, told
from convault.errors import StoreUnavailable
from convault.schedule import BackupSchedule
from convault.settings import Settings
from convault.stores.folder import FolderStore
from deployments.facts import judge_schedules, judge_workers
from deployments.schedules import Seen
from deployments.workers import Workers
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy, forget_workers
from tests.serving import PATH, client_of, problem, served

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NEEDED = ["database", "catalog", "store", "prefect", "worker"]


@pytest.fixture
def fresh(settings: Settings, closed_port: int) -> Iterator[httpx.Client]:
    """A client of an API that has looked at nothing yet, and has no Prefect server."""
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{closed_port}/api"}),
        served(create_app(settings)) as url,
        client_of(url) as client,
    ):
        yield client


def facts(client: httpx.Client, status: int) -> dict[str, Any]:
    answer = client.get(f"{PATH}/verify")
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["works"] is (status == 200)
    return {fact["name"]: fact for fact in answer.json()["facts"]}


def record(age: timedelta) -> BackupRecord:
    at = NOW - age
    return BackupRecord(
        id=UUID(int=1), status=BackupStatus.COMPLETED, options={}, created_at=at, updated_at=at
    )


@pytest.mark.prefect_server
@pytest.mark.xdist_group("prefect")
def test_each_fact_is_found_and_a_worker_is_missed(
    settings: Settings, catalog: Catalog, prefect_api: PrefectServer
) -> None:
    deploy(prefect_api)
    forget_workers(prefect_api)
    row = catalog.add(record(timedelta()).model_copy(update={"id": uuid4()}))
    before = datetime.now(UTC)
    with served(create_app(settings)) as url, client_of(url) as client:
        found = facts(client, 503)
    assert list(found) == [*NEEDED, "last good backup", "schedules", "copies", "clock"]
    states = {name: fact["state"] for name, fact in found.items()}
    assert {states.pop(name) for name in ("catalog", "store", "prefect", "clock")} == {"ok"}
    assert (states["database"], states["worker"]) == ("amber", "red"), "a superuser; no worker"
    assert str(row.id) in found["last good backup"]["findings"][0]["found"]
    assert "0 of 1 are switched on" in found["schedules"]["findings"][0]["found"]
    assert [name for name, fact in found.items() if fact["needed"]] == NEEDED
    for fact in found.values():
        assert before <= datetime.fromisoformat(fact["at"]) <= datetime.now(UTC)


def test_the_store_is_probed_once_a_minute_and_asked_each_time(
    fresh: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "AGAIN", 0.0)
    monkeypatch.setattr(looking, "PROBE_AGAIN", math.inf)  # however long the five looks take
    put: list[str] = []
    whole = FolderStore.put

    def counted(self: FolderStore, key: str, *rest: Any, **more: Any) -> Any:
        put.append(key)
        return whole(self, key, *rest, **more)

    monkeypatch.setattr(FolderStore, "put", counted)
    folder = Path(urlsplit(settings.store_url()).path)
    texts = [facts(fresh, 503)["store"] for _ in range(3)]
    assert len(put) == 1
    assert put[0].startswith("doctor/")
    assert not list((folder / "doctor").glob("*"))
    assert {fact["state"] for fact in texts} == {"ok"}
    [probe] = {f["found"] for fact in texts for f in fact["findings"] if f["name"] == "store"}
    assert "written" in probe
    folder.rename(folder.with_name("away"))
    try:
        assert facts(fresh, 503)["store"]["state"] == "red"
    finally:
        folder.with_name("away").rename(folder)
    assert facts(fresh, 503)["store"]["state"] == "ok"
    monkeypatch.setattr(looking, "PROBE_AGAIN", 0.0)
    facts(fresh, 503)
    assert len(put) == 2


def test_who_asks_at_the_same_time_is_told_the_same(
    fresh: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "AGAIN", PATIENCE)
    first, second = (facts(fresh, 503) for _ in range(2))
    assert first == second


def test_what_is_down_says_so_and_what_to_do(settings: Settings, closed_port: int) -> None:
    nobody = f"postgresql://u:hunter2@127.0.0.1:{closed_port}/catalog"
    broken = Settings(
        database_url=nobody,
        convault_store_url="file:///nowhere/at/all",
        convault_api_key=settings.convault_api_key,
    )
    with (
        temporary_settings({PREFECT_API_URL: None}),
        served(create_app(broken)) as url,
        client_of(url) as client,
    ):
        found = facts(client, 503)
        assert client.get("/healthz").json() == {"status": "alive"}
    assert {name for name, fact in found.items() if fact["state"] == "red"} >= set(NEEDED)
    assert all(
        finding["remedy"]
        for fact in found.values()
        for finding in fact["findings"]
        if finding["state"] == "red"
    )
    assert "PREFECT_API_URL" in str(found["prefect"])
    assert "hunter2" not in str(found)


def test_what_counts_as_old_is_a_setting(settings: Settings, catalog: Catalog) -> None:
    two_days = datetime.now(UTC) - timedelta(days=2)
    old = record(timedelta()).model_copy(update={"id": uuid4(), "created_at": two_days})
    catalog.add(old, keep_times=True)
    for age, state in (("1d", State.AMBER), ("3d", State.OK), ("0", State.OK)):
        changed = settings.model_copy(update={"convault_notify_max_age": age})
        [finding] = looking.Facts(changed, catalog)._last_good()
        assert (finding.state, "2 d 0 h" in finding.found) == (state, True)


def test_it_is_closed(url: str) -> None:
    with client_of(url, key=None) as stranger:
        problem(stranger.get(f"{PATH}/verify"), 401, "unauthorized")


def test_checks_go_side_by_side_and_none_is_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over, ended = threading.Event(), threading.Event()
    waited: list[float | None] = []

    def silent() -> Iterator[Finding]:
        over.wait(PATIENCE)
        ended.set()
        yield ok("late", "came late")

    def wait_when_the_others_ended(futures: list[Future[Fact]], timeout: float | None) -> None:
        """Their threads may be slow to start: none of them shall count as silent."""
        wait(futures[1:])
        waited.append(timeout)
        wait(futures, timeout)

    def failing() -> list[Finding]:
        raise StoreUnavailable("The store cannot be reached. Try again.")

    monkeypatch.setattr("convault.doctor.facts.wait", wait_when_the_others_ended)
    started = time.monotonic()
    found = ask_all(
        [
            Check("late", silent, needed=True),
            Check("store", failing, needed=True),
            Check("fine", lambda: [ok("a", "a"), amber("b", "b", "c")], needed=True),
            Check("nothing", list),
            Check("beside", lambda: [red("x", "y", "z")]),
        ],
        within=0.3,
    )
    assert time.monotonic() - started < 10
    assert not ended.is_set()
    assert waited == [0.3]
    over.set()
    assert [fact.state for fact in found] == ["red", "red", "amber", "not checked", "red"]
    assert [fact.is_down for fact in found] == [True, True, False, False, False]
    assert "within 0.3 s" in found[0].findings[0].found
    assert found[1].findings[0].remedy == "Try again."


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=59), "0 min"),
        (timedelta(minutes=61), "1 h 1 min"),
        (timedelta(days=3, hours=5, minutes=9), "3 d 5 h"),
        (timedelta(seconds=-5), "0 min"),
    ],
)
def test_an_age_in_words(age: timedelta, words: str) -> None:
    assert words in judge_age(record(age), NOW, None).found
    assert told(max(age, timedelta())) == words


def test_an_old_backup_is_told_of() -> None:
    assert judge_age(None, NOW, None).state is State.AMBER
    day = timedelta(days=1)
    assert judge_age(record(day), NOW, day).state is State.OK
    late = judge_age(record(day + timedelta(seconds=1)), NOW, day)
    assert (late.state, "1 d 0 h" in late.found) == (State.AMBER, True)


@pytest.mark.parametrize(
    ("online", "paused", "late", "states"),
    [
        (0, False, 0, [State.RED]),
        (2, False, 0, [State.OK]),
        (1, True, 0, [State.RED]),
        (1, False, 3, [State.OK, State.AMBER]),
    ],
)
def test_workers_are_judged(online: int, paused: bool, late: int, states: list[State]) -> None:
    health = Workers(online=online, last_heartbeat_at=NOW, paused=paused, late_runs=late)
    assert [finding.state for finding in judge_workers(health)] == states


def test_schedules_are_judged() -> None:
    def seen(name: str, *, overdue: bool = False, there: bool = True, active: bool = True) -> Seen:
        row = BackupSchedule(id=uuid4(), name=name, schedule="daily", is_active=active)
        return Seen(row, uuid4() if there else None, overdue=overdue)

    off = [seen("b", active=False), seen("c", there=False, active=False)]
    fine = judge_schedules([seen("a"), *off])
    assert (fine.state, "1 of 3" in fine.found) == (State.OK, True)
    late = judge_schedules([seen("a", overdue=True), seen("b", there=False)])
    assert late.state is State.AMBER
    assert "overdue: a" in late.found
    assert "not on the Prefect server any more: b" in late.found
