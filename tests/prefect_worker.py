"""The deployment of prefect.yaml on the tests' Prefect server, and a worker that runs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
from prefect.client.orchestration import get_client

from deployments.start import DEPLOYMENT
from tests.patience import awaited
from tests.prefect_server import CHECKOUT, PrefectServer, stop

_deployed: set[str] = set()
"""servers that have the deployment"""


def deploy(server: PrefectServer) -> None:
    """What an operator types, once for each server: it takes some seconds."""
    if server.url in _deployed:
        return
    for command in (
        ("work-pool", "create", "convault", "--type", "process", "--overwrite"),
        ("deploy", "--all", "--no-prompt"),
    ):
        done = server.prefect(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    _deployed.add(server.url)


@contextmanager
def worker(server: PrefectServer, environment: dict[str, str], log: Path) -> Iterator[None]:
    """Deploy, and run a worker with `environment`; its output, and that of its runs, is in `log`.

    It looks for work every second, and is stopped when the block is over and its runs have ended.
    What others asked for before, and what is due by then, is not run: a slot of a schedule that
    waits for its turn outlives the schedule.
    """
    deploy(server)
    forget_due(server)
    with started(server, environment, log):
        yield
        forget_due(server)
        _await_end(server, log)


@contextmanager
def started(
    server: PrefectServer, environment: dict[str, str], log: Path, name: str = "worker"
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the pool, which looks for work every second; it is stopped, and its runs are,
    when the block is over."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "convault",
             "--name", f"{name} {log.parent.name}"],
            cwd=CHECKOUT,
            env={**server.environment, "PREFECT_WORKER_QUERY_SECONDS": "1", **environment},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        stop(process)


@contextmanager
def nothing_waits(server: PrefectServer) -> Iterator[None]:
    """For the block no schedule starts a backup, and none waits that an earlier test asked for: a
    worker would take it. On a server that has the deployment, and is that of PREFECT_API_URL."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(DEPLOYMENT).id
        client.pause_deployment(deployment)
        try:
            forget_due(server, "SCHEDULED", "PENDING")
            yield
        finally:
            client.resume_deployment(deployment)


def forget_runs(server: PrefectServer, found: Callable[[], Collection[object]]) -> None:
    """Delete runs, by their ids, until none is found any more: the server gives some at a time."""
    while runs := found():
        for run in runs:
            gone = server.request("DELETE", f"/flow_runs/{run}").status_code
            assert gone in {httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND}, gone


def forget_due(server: PrefectServer, *states: str) -> None:
    """Delete the runs of deployments that are due, and in one of these states: as a default, those
    that a worker would take now."""
    due = {
        "flow_runs": {
            "deployment_id": {"is_null_": False},
            "state": {"type": {"any_": states or ["SCHEDULED"]}},
            "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
        }
    }
    forget_runs(server, lambda: [run["id"] for run in server.ask("/flow_runs/filter", due)])


def forget_workers(server: PrefectServer) -> None:
    """Have the server know of none: one that was stopped counts as online for a while."""
    there = "/work_pools/convault/workers"
    for known in server.ask(f"{there}/filter", {}):
        server.request("DELETE", f"{there}/{known['name']}").raise_for_status()


def _await_end(server: PrefectServer, log: Path) -> None:
    """A run writes its row before Prefect hears that it is over. Killed in between, it would keep
    the deployment's one slot from the runs of the next test for minutes."""
    running = {
        "flow_runs": {
            "deployment_id": {"is_null_": False},
            "state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}},
        }
    }
    awaited(lambda: not server.ask("/flow_runs/count", running), log)
