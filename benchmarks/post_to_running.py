"""How long it takes from `POST` until a backup runs, on a stack as `convault up` starts it.

    python -m benchmarks.post_to_running --runs 5

Each backup is asked for when the one before it is complete, so that nothing waits for its turn. Two
times of each: until whoever asked sees `processing` instead of `pending`, and, by the database's
clock, between the row and the run that took it. The stack is that of `convault up --demo`, with a
school of its own in a folder that is thrown away.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

PATH = "/api/communication/backups"


def main() -> None:
    """Prints a line for each run, and the median."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    took = []
    with _stack() as client:
        for _ in range(chosen.runs):
            seen, row = _measured(client)
            began = datetime.fromisoformat(row["started_at"])
            between = (began - datetime.fromisoformat(row["created_at"])).total_seconds()
            took.append(seen)
            print(f"seen to run after {seen:.2f} s, begun after {between:.2f} s", flush=True)
    print(f"median {statistics.median(took):.2f} s; load {os.getloadavg()[0]:.1f}")


def _measured(client: httpx.Client) -> tuple[float, dict[str, Any]]:
    """Seconds until the row of a backup that is asked for now says that it runs; the row at the
    end."""
    asked = time.monotonic()
    answer = client.post(PATH)
    assert answer.status_code == 202, answer.text
    where = f"{PATH}/{answer.json()['id']}"
    seen = None
    while True:
        row = client.get(where).raise_for_status().json()
        if seen is None and row["status"] != "pending":
            seen = time.monotonic() - asked
        if row["status"] in {"completed", "failed"}:
            assert row["status"] == "completed", row["error"]
            assert seen is not None
            return seen, row
        time.sleep(0.05)


@contextmanager
def _stack() -> Iterator[httpx.Client]:
    """A client of the API of a stack of its own."""
    base = Path(tempfile.mkdtemp(prefix="cv-bench-"))
    base.chmod(0o711)  # as root, Postgres runs as nobody
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "from cli.main import main; main()", "up", "--demo", "--json",
             "--home", str(base / "demo"), "--port", _port(), "--prefect-port", _port()],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        said = b""
        while not said.endswith(b"\n}\n"):
            line = process.stdout.readline()
            assert line, (base / "log").read_text()[-3000:]
            said += line
        there = json.loads(said)
        headers = {"Authorization": f"Bearer {there['api_key']}"}
        with httpx.Client(base_url=there["api"], headers=headers, timeout=60) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        shutil.rmtree(base)


def _port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


if __name__ == "__main__":
    main()
