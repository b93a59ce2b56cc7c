"""A real Prefect server, with a home of its own, for the tests that need one.

Starting it takes seconds, so it is started once per worker of pytest-xdist; a module that
uses it says `pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]`, so
that (with `--dist loadgroup`) all of them share one worker and one server. (Those of `tests/flows`
are a group of their own, `flows`, so are those that start commands, `commands`, and those that kill
backups, `crash`: so that another worker can take them.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from convault.file_lock import alone
from tests.patience import PATIENCE

CHECKOUT = Path(__file__).parent.parent


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections: bound, so that nobody takes it, not open."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def stop(process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """End a process that leads its own group, and what it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@dataclass(frozen=True)
class PrefectServer:
    """A running server."""

    url: str
    """of its API: what PREFECT_API_URL is set to"""
    home: Path
    database: Path
    """its SQLite file"""
    log: Path
    environment: dict[str, str] = field(repr=False)
    """for programs that shall use it, without any of the developer's own settings"""

    def request(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Its answer. On a busy machine that may take long, and while its database is busy it says
        503: as Prefect's client does, ask again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = httpx.request(method, f"{self.url}{path}", json=body, timeout=PATIENCE)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return answer
            time.sleep(0.5)

    def ask(self, path: str, question: object = None) -> Any:
        """What it answers to a question, or to GET without one."""
        answer = self.request("GET" if question is None else "POST", path, question)
        return answer.raise_for_status().json()

    def artifacts(self, key: str) -> list[str]:
        """What was shown under that key. Without one it gives 200 of whatever there is."""
        found = self.ask("/artifacts/filter", {"artifacts": {"key": {"any_": [key]}}})
        return [artifact["data"] for artifact in found]

    def prefect(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the `prefect` command in the checkout, with `more` in its environment."""
        return subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=CHECKOUT,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


def _environment(home: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "CONVAULT_", "SUPABASE_")) and name != "DATABASE_URL"
    }
    # A worker keeps its runs' files in `runner_storage` there, which may be another user's.
    temporary = home / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        **kept,
        "TMPDIR": str(temporary),
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_HOME": str(home),
        "NO_COLOR": "1",
    }


def with_tables(home: Path) -> Path:
    """Give `home` a database as Prefect makes it, which knows nothing. Half of the time in which a
    server starts goes into its hundred migrations, so they run once for each version of Prefect."""
    kept = CHECKOUT / ".pytest_cache"
    kept.mkdir(exist_ok=True)
    made = kept / f"prefect-{version('prefect')}.db"
    with alone(made.with_suffix(".lock")):
        if not made.exists():
            with tempfile.TemporaryDirectory(prefix="cv-prefect-") as folder:
                subprocess.run(
                    [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
                    env=_environment(Path(folder)), stdin=subprocess.DEVNULL, check=True,
                    capture_output=True,
                )  # fmt: skip
                with (
                    contextlib.closing(sqlite3.connect(Path(folder) / "prefect.db")) as database,
                    contextlib.closing(sqlite3.connect(made.with_suffix(".new"))) as copy,
                ):
                    database.backup(copy)
            made.with_suffix(".new").replace(made)
    shutil.copyfile(made, home / "prefect.db")
    return home


@contextlib.contextmanager
def running() -> Iterator[PrefectServer]:
    """A real `prefect server start`, which knows nothing, on a free port of 127.0.0.1."""
    home = with_tables(Path(tempfile.mkdtemp(prefix="cv-prefect-")))
    port = free_port()
    log = home / "server.log"
    environment = _environment(home)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1",
             "--port", str(port)],
            env={
                **environment,
                # The scheduler looks every second, not every minute: a test waits for it.
                "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
                # As in our own stack: a busy machine lets writers wait for each other.
                "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
                # And a backup that waits for its turn asks soon whether it has come.
                "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "15",
            },
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/api"
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            tail = log.read_text(errors="replace")[-2000:]
            assert process.poll() is None, f"the Prefect server ended:\n{tail}"
            assert time.monotonic() < deadline, f"the Prefect server does not answer:\n{tail}"
            time.sleep(0.2)
        yield PrefectServer(
            url, home, home / "prefect.db", log, {**environment, "PREFECT_API_URL": url}
        )
    finally:
        _let_go()
        stop(process, 0)  # it keeps nothing that is needed, and takes seconds to end by itself
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """The tests' own."""
    with running() as server:
        yield server


def _let_go() -> None:
    """Prefect's threads in this process send what they still hold before the server goes."""
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        APILogWorker.drain_all()
        EventsWorker.drain_all()


@pytest.fixture
def prefect_api(
    request: pytest.FixtureRequest, prefect_server: PrefectServer
) -> Iterator[PrefectServer]:
    """This process uses the server: flows that a test calls run against it.

    The server takes 40 ms of a core for each run of a task, of which events tell it; so it is told
    only where a test looks at them, and is marked `events`. Runs of flows it knows in any case."""
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    told = request.node.get_closest_marker("events") is not None
    EventsWorker.set_client_override(None if told else NullEventsClient)
    try:
        with temporary_settings(
            {PREFECT_API_URL: prefect_server.url, PREFECT_HOME: prefect_server.home}
        ):
            yield prefect_server
    finally:
        EventsWorker.set_client_override(None)
