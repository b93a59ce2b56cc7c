"""The Prefect server that a command starts for itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
from prefect.settings import get_current_settings

from cli.prefect_server import heartless
from tests.cli.conftest import clean_environment
from tests.patience import PATIENCE
from tests.prefect_server import with_tables

CODE = """
import os, sys
from cli.prefect_server import ensure_server
ensure_server()
from prefect.settings import get_current_settings
print(get_current_settings().api.url, flush=True)
sys.stdin.read()
"""


def answers(url: str) -> bool:
    """One that is not there any more refuses at once; one that is may be slow."""
    try:
        return httpx.get(f"{url}/health", timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


def test_it_survives_ctrl_c_and_ends_with_the_process_even_a_killed_one(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(2, signal.SIG_IGN){CODE}"],
        env=clean_environment(PREFECT_HOME=str(with_tables(tmp_path))), cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert answers(url)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(1)
        assert answers(url)
        process.kill()
        process.wait()
    deadline = time.monotonic() + PATIENCE
    while answers(url):
        assert time.monotonic() < deadline, "the server outlived its process"
        time.sleep(0.2)


def test_a_server_that_is_configured_is_used(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        cwd=tmp_path, check=True,
        env=clean_environment(PREFECT_HOME=str(tmp_path), PREFECT_API_URL="http://127.0.0.1:9/api"),
    )  # fmt: skip
    assert done.stdout == "http://127.0.0.1:9/api\n"
    assert not list(tmp_path.glob("*.log"))


def test_without_a_heart_one_setting_is_another_and_for_the_block_alone() -> None:
    before = get_current_settings()
    with heartless():
        inside = get_current_settings()
        assert inside.flows.heartbeat_frequency is None
        assert inside.model_dump(exclude={"flows"}) == before.model_dump(exclude={"flows"})
        assert inside.flows.default_retries == before.flows.default_retries
    assert get_current_settings() is before
    assert before.flows.heartbeat_frequency is not None
