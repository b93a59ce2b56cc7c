"""`convault up` as a process, and what a test asks of it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from tests.flows.application import Application
from tests.patience import PATIENCE, awaited
from tests.serving import PATH


@dataclass
class Stack:
    """A stack that stands."""

    process: subprocess.Popen[bytes]
    log: Path
    api: str
    prefect: str
    credentials: str
    """of the Prefect server; '' where it is somebody else's"""
    client: httpx.Client
    """of the API, with its key"""

    def ask_prefect(self, path: str, body: dict[str, Any]) -> Any:
        """A POST to the Prefect API, signed in."""
        with self.signed_in() as client:
            answer = client.post(f"{self.prefect}/api{path}", json=body)
        return answer.raise_for_status().json()

    @contextmanager
    def signed_in(self) -> Iterator[httpx.Client]:
        """A client of the Prefect server, with its password and a token against forgery."""
        user, _, password = self.credentials.partition(":")
        with httpx.Client(auth=(user, password), timeout=PATIENCE) as client:
            token = client.get(f"{self.prefect}/api/csrf-token", params={"client": "test"})
            client.headers["Prefect-Csrf-Token"] = token.raise_for_status().json()["token"]
            client.headers["Prefect-Csrf-Client"] = "test"
            yield client

    def row(self, backup_id: str) -> dict[str, Any]:
        """A backup, as the API tells it."""
        found: dict[str, Any] = self.client.get(f"{PATH}/{backup_id}").raise_for_status().json()
        return found

    def post(self) -> str:
        """Ask for a backup; its id."""
        answer = self.client.post(PATH)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def until(self, backup_id: str, *statuses: str) -> dict[str, Any]:
        """The backup, as soon as it says one of these."""
        return awaited(
            lambda: (found := self.row(backup_id))["status"] in statuses and found, self.log
        )

    def parts(self) -> dict[str, int]:
        """The processes that it started, by a word of their command lines."""
        words = {"prefect_server": "prefect", "stack.worker": "worker", "api.serving": "api"}
        found = {}
        for child in psutil.Process(self.process.pid).children():
            line = words_of(child)
            found |= {name: child.pid for word, name in words.items() if word in line}
        return found

    def tree(self) -> list[psutil.Process]:
        """All of it."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def runs(self) -> list[psutil.Process]:
        """Processes that run a flow."""
        return [p for p in self.tree() if "prefect.engine" in words_of(p)]


def words_of(process: psutil.Process) -> str:
    """Its command line; nothing once it is gone."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


@contextmanager
def stack(application: Application, home: Path, ports: tuple[int, int]) -> Iterator[Stack]:
    """`convault up`, healthy; it is ended behind the block if it still runs."""
    log = home.parent / f"up-{time.monotonic_ns()}.log"
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "CONVAULT_", "SUPABASE_")) and name != "DATABASE_URL"
    }
    environment = {
        **kept, **application.environment,
        "CONVAULT_HOME": str(home), "CONVAULT_SILENT_SECONDS": "90", "TMPDIR": str(home.parent),
        "CONVAULT_LOCK_TIMEOUT": str(PATIENCE),
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("convault"), "up", "--json", "--port", str(ports[0]),
             "--prefect-port", str(ports[1])],
            env=environment, cwd=home.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=output,
        )  # fmt: skip
    assert process.stdout is not None
    said = b""
    try:
        while not said.endswith(b"\n}\n"):
            line = process.stdout.readline()
            assert line, f"convault up ended:\n{log.read_text()[-4000:]}"
            said += line
        there = json.loads(said)
        link = there["sign_in"] or ""
        credentials = base64.b64decode(urlsplit(link).fragment).decode()
        headers = {"Authorization": f"Bearer {there['api_key']}"}
        with httpx.Client(base_url=there["api"], headers=headers, timeout=PATIENCE) as client:
            yield Stack(process, log, there["api"], there["prefect"], credentials, client)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        process.stdout.close()
