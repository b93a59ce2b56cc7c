"""The deployment of prefect.yaml on the tests' Prefect server, and a worker that runs it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

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
    """
    deploy(server)
    with started(server, environment, log):
        yield
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


def forget_workers(server: PrefectServer) -> None:
    """Have the server know of none: one that was stopped counts as online for a while."""
    there = "/work_pools/convault/workers"
    for known in server.ask(f"{there}/filter", {}):
        httpx.delete(f"{server.url}{there}/{known['name']}", timeout=60).raise_for_status()


def _await_end(server: PrefectServer, log: Path) -> None:
    """A run writes its row before Prefect hears that it is over. Killed in between, it would keep
    the deployment's one slot from the runs of the next test for minutes."""
    running = {
        "flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}},
        "deployments": {"name": {"any_": ["conversations"]}},
    }
    deadline = time.monotonic() + 60
    while server.ask("/flow_runs/count", running):
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
