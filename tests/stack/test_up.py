"""`convault up`: a stack of real processes that is asked, killed, stopped and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from prefect.settings import PREFECT_WORKER_PREFETCH_SECONDS
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from convault.embedded.server import EmbeddedPostgres
from convault.schedule import id_of
from tests.conftest import SYSTEM_VERSIONS
from tests.curl_examples import run_examples
from tests.flows.application import Application, build, database, held_back
from tests.patience import PATIENCE, awaited
from tests.prefect_server import PrefectServer, free_port
from tests.prefect_worker import forget_workers
from tests.serving import PATH
from tests.stack.standing import Stack, stack

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(1800), pytest.mark.long]


@pytest.fixture(scope="module")
def application(
    cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Application]:
    folder = tmp_path_factory.mktemp("up")
    with database(cluster) as url, database(cluster) as catalog_url:
        yield build(url, catalog_url, folder / "store", messages=200)


def test_up_from_beginning_to_end(application: Application, tmp_path: Path) -> None:
    """One test, because a stack costs seconds to start, and what follows needs what was before."""
    ports = (free_port(), free_port())
    home = tmp_path / "home"
    with stack(application, home, ports) as up:
        _nobody_gets_in(up, ports)
        first = _a_backup_is_made(up)
        _a_link_is_not_logged(up, first)
        _the_api_is_killed(up)
        _the_server_is_killed_in_mid_run(up, application)
        _the_worker_is_killed_in_mid_run(up, application)
        _a_run_is_killed(up, application)
        _worker_and_run_are_killed_together(up, application)
        waiting = _it_is_stopped_in_order(up, application)
    _make_old(home / "up" / "prefect" / "prefect.db", first)
    with stack(application, home, ports) as up:
        # What was asked for before it was stopped is done, and what it was is still known.
        assert up.until(waiting, "completed", "failed")["status"] == "completed"
        awaited(lambda: not _runs(up, first), up.log)
        assert _runs(up, waiting), "only what is old is forgotten"
        key = up.client.headers["Authorization"].removeprefix("Bearer ")
        assert '"works":true' in run_examples(up.api, key, tmp_path)
        gone = up.client.delete(f"{PATH}/scheduler/{id_of('nightly')}")
        assert gone.status_code == 204, "the next stack would make it again"
        before = up.tree()
        up.process.kill()
        _, alive = psutil.wait_procs(before[1:], timeout=90)
        assert not alive, up.log.read_text()[-4000:]


def _nobody_gets_in(up: Stack, ports: tuple[int, int]) -> None:
    """Every port that it listens on, and every way to ask without a right to."""
    listening = {
        connection.laddr.port: (process.pid, connection.laddr.ip)
        for process in up.tree()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address for _, address in listening.values()} == {"127.0.0.1"}
    assert listening.keys() >= set(ports)
    for port in listening.keys() - set(ports):
        # Prefect's worker: its runs hear there that they are cancelled, each with a token.
        assert listening[port][0] == up.parts()["worker"]
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    foreign = {"Origin": "https://evil.example"}
    flows = f"{up.prefect}/api/flow_runs/filter"
    with up.signed_in() as client:
        assert client.post(flows, json={}).status_code == 200
        assert client.post(flows, json={}, headers=foreign).status_code == 403
        assert (
            client.post(flows, json={}, headers={"Sec-Fetch-Site": "same-site"}).status_code == 403
        )
        assert client.post(flows, json={}, headers={"Host": "evil.example"}).status_code == 421
        del client.headers["Prefect-Csrf-Token"]
        assert client.post(flows, json={}).status_code == 403
    with httpx.Client(timeout=PATIENCE) as nobody:
        for path in ("/api/flow_runs/count", "/api/admin/settings", "/api/deployments/filter"):
            assert nobody.post(up.prefect + path, json={}).status_code in {401, 403}, path
        assert nobody.get(f"{up.prefect}/api/admin/settings").status_code == 401
        assert nobody.get(f"{up.prefect}/api/health", headers=foreign).status_code == 403
        assert nobody.get(up.api + PATH).status_code == 401
        assert nobody.post(up.api + PATH).status_code == 401
        signed = {"Authorization": up.client.headers["Authorization"], **foreign}
        assert nobody.post(up.api + PATH, headers=signed).status_code == 403
        page = nobody.get(f"{up.prefect}/convault/sign-in")
        assert "prefect-password" in page.text
        assert up.credentials not in page.text
    for path in (
        "/events/in", "/events/out", "/logs/out", "/task_runs/subscriptions/scheduled",
        "/work_pools/convault/workers/connect",
    ):  # fmt: skip
        socket_url = f"{up.prefect.replace('http', 'ws', 1)}/api{path}"
        assert _is_let_in(socket_url, up.credentials)
        assert not _is_let_in(socket_url, up.credentials, origin=Origin(foreign["Origin"]))
        for wrong in (None, "", f"{up.credentials}x"):
            assert not _is_let_in(socket_url, wrong), path
    with up.signed_in() as client:
        settings = client.get(f"{up.prefect}/api/admin/settings").json()["server"]
    assert settings["api"]["csrf_protection_enabled"] is True
    assert settings["api"]["cors_allowed_origins"] == up.prefect
    assert "flow_runs" in settings["services"]["db_vacuum"]["enabled"]


def _is_let_in(url: str, token: str | None, **more: Any) -> bool:
    """Over a WebSocket, on which Prefect is told the password in the first message."""
    try:
        with connect(
            url, subprotocols=[Subprotocol("prefect")], open_timeout=PATIENCE, proxy=None, **more
        ) as opened:
            opened.send(json.dumps({"type": "auth", "token": token}))
            return bool(json.loads(opened.recv(timeout=PATIENCE))["type"] == "auth_success")
    except (InvalidHandshake, ConnectionClosed):
        return False


def _a_backup_is_made(up: Stack) -> str:
    """It begins soon (in some 3 s where nothing else works; `benchmarks/post_to_running.py`)."""
    backup_id = up.post()
    row = up.until(backup_id, "completed", "failed")
    assert row["status"] == "completed", row
    asked, began = (datetime.fromisoformat(row[name]) for name in ("created_at", "started_at"))
    assert began - asked < timedelta(seconds=60)
    return backup_id


def _a_link_is_not_logged(up: Stack, backup_id: str) -> None:
    link = up.row(backup_id)["url"]
    assert httpx.get(up.api + link, timeout=PATIENCE).status_code == 200
    path, _, token = link.partition("?token=")
    awaited(lambda: path in up.log.read_text(), up.log)
    assert token
    assert token not in up.log.read_text()


def _the_api_is_killed(up: Stack) -> None:
    """It is started again, and nothing else notices."""
    _is_killed("api", up)
    awaited(lambda: _answers(f"{up.api}/healthz"), up.log)
    _a_backup_is_made(up)


def _is_killed(part: str, up: Stack) -> None:
    """It is started again, and it alone."""
    old = up.parts()
    os.kill(old[part], signal.SIGKILL)
    awaited(lambda: up.parts().get(part) not in {None, old[part]}, up.log)
    assert {name: pid for name, pid in up.parts().items() if name != part} == {
        name: pid for name, pid in old.items() if name != part
    }


def _made_though_killed(part: str, up: Stack, application: Application) -> str:
    """A backup in whose middle a part is killed is made; its id."""
    with held_back(application.url) as let_go:
        backup_id = up.post()
        up.until(backup_id, "processing")
        _is_killed(part, up)
        let_go()
        row = up.until(backup_id, "completed", "failed")
        assert row["status"] == "completed", (row["error"], up.log.read_text()[-4000:])
    return backup_id


def _the_worker_is_killed_in_mid_run(up: Stack, application: Application) -> None:
    """It is started again; its run goes on, and is recorded, here and there."""
    backup_id = _made_though_killed("worker", up, application)
    assert _run_ends(up, backup_id) == "COMPLETED"


def _a_run_is_killed(up: Stack, application: Application) -> None:
    """Its worker says so at once, and lives; the row fails when the lease is over."""
    with held_back(application.url):
        backup_id = up.post()
        up.until(backup_id, "processing")
        worker = up.parts()["worker"]
        for run in up.runs():
            run.kill()
        assert _run_ends(up, backup_id) == "CRASHED"
        row = up.until(backup_id, "failed")
    assert "interrupted" in row["error"]
    assert up.parts()["worker"] == worker


def _the_server_is_killed_in_mid_run(up: Stack, application: Application) -> None:
    """It is started again; the run finishes and is recorded, here and there."""
    backup_id = _made_though_killed("prefect", up, application)
    awaited(lambda: _answers(f"{up.prefect}/api/health"), up.log)
    assert _run_ends(up, backup_id) == "COMPLETED"


def _worker_and_run_are_killed_together(up: Stack, application: Application) -> None:
    """The run is called crashed, the row failed, and the next backup is made."""
    with held_back(application.url):
        backup_id = up.post()
        up.until(backup_id, "processing")
        awaited(lambda: _beats(up), up.log)
        for process in (up.parts()["worker"], *(run.pid for run in up.runs())):
            os.kill(process, signal.SIGKILL)
        assert _run_ends(up, backup_id) == "CRASHED"
        row = up.until(backup_id, "failed")
    assert "interrupted" in row["error"]
    _a_backup_is_made(up)


def _it_is_stopped_in_order(up: Stack, application: Application) -> str:
    """One backup works and says that it was stopped; one waits; the latter's id."""
    with held_back(application.url):
        working = up.post()
        up.until(working, "processing")
        waiting = up.post()
        _asks_soon(up, waiting)
        processes = up.tree()
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(PATIENCE) == 0, up.log.read_text()[-4000:]
        _, alive = psutil.wait_procs(processes, timeout=10)
        assert not alive
    log = up.log.read_text()
    catalog = application.installation().catalog
    rows = {str(row.id): row for row in catalog.list()}
    assert rows[working].status == "failed"
    assert "told to stop" in str(rows[working].error)
    assert rows[waiting].status == "pending"
    assert log.index("Finished server process") < log.index("The worker has stopped")
    return waiting


def _asks_soon(up: Stack, backup_id: str) -> None:
    """A backup that waits for its turn asks every five seconds whether it has come."""

    def turned_away() -> Any:
        [run] = _runs(up, backup_id)
        return run["state_name"] == "AwaitingConcurrencySlot" and run["state"]

    state = awaited(turned_away, up.log)
    at, again = state["timestamp"], state["state_details"]["scheduled_time"]
    early = timedelta(seconds=PREFECT_WORKER_PREFETCH_SECONDS.value())
    waits = datetime.fromisoformat(again) - datetime.fromisoformat(at) - early
    assert timedelta(seconds=4) < waits < timedelta(seconds=6), "not at each look of the worker's"


def _make_old(file: Path, backup_id: str) -> None:
    """Have Prefect's database say that the run of that backup ended long ago."""
    with closing(sqlite3.connect(file)) as connection, connection:
        changed = connection.execute(
            "UPDATE flow_run SET end_time = '2020-01-01 00:00:00.000000' WHERE name = ?",
            [f"backup-{backup_id}"],
        )
        assert changed.rowcount == 1


def _runs(up: Stack, backup_id: str) -> list[Any]:
    """The runs of a backup that the server knows."""
    wanted = {"flow_runs": {"name": {"any_": [f"backup-{backup_id}"]}}}
    return list(up.ask_prefect("/flow_runs/filter", wanted))


def _run_ends(up: Stack, backup_id: str) -> str:
    """Type of the state that the backup's run ends in."""

    def ended() -> str | None:
        [run] = _runs(up, backup_id)
        state = str(run["state_type"])
        return state if state in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} else None

    return str(awaited(ended, up.log))


def _beats(up: Stack) -> bool:
    """Whether a run said that it lives, and the server has it."""
    found = up.ask_prefect(
        "/events/filter",
        {"filter": {"event": {"name": ["prefect.flow-run.heartbeat"]}}, "limit": 5},
    )
    ids = {run.environ().get("PREFECT__FLOW_RUN_ID") for run in up.runs()}
    return any(
        event["resource"]["prefect.resource.id"].removeprefix("prefect.flow-run.") in ids
        for event in found["events"]
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.matrix
def test_prefects_data_are_in_postgres_when_one_is_configured(
    application: Application, cluster_of: Callable[[int], EmbeddedPostgres], tmp_path: Path
) -> None:
    """The system's Postgres: Prefect needs pg_trgm, which the wheel's lacks."""
    system = min(SYSTEM_VERSIONS)
    with database(cluster_of(system)) as url:
        there = {**application.environment, "CONVAULT_PREFECT_DATABASE_URL": url}
        moved, ports = replace(application, environment=there), (free_port(), free_port())
        with stack(moved, tmp_path / "home", ports) as up:
            _a_backup_is_made(up)
            with psycopg.connect(url) as connection:
                row = connection.execute("SELECT count(*) FROM flow_run").fetchone()
        assert row == (1,)
        assert not list((tmp_path / "home").rglob("prefect.db"))


@pytest.mark.prefect_server
def test_a_prefect_server_of_somebody_elses_is_used(
    application: Application, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    """As with Prefect Cloud: what is lacking is made there, and no server is started."""
    there = {**application.environment, "PREFECT_API_URL": prefect_server.url}
    moved, ports = replace(application, environment=there), (free_port(), free_port())
    with stack(moved, tmp_path / "home", ports) as up:
        assert up.prefect == prefect_server.url
        assert up.credentials == ""
        assert up.parts().keys() == {"worker", "api"}
        backup_id = _a_backup_is_made(up)
        asked = {"flow_runs": {"name": {"any_": [f"backup-{backup_id}"]}}}
        assert prefect_server.ask("/flow_runs/count", asked) == 1
    forget_workers(prefect_server)
