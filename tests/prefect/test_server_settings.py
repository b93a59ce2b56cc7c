"""What a server that is ours is told, under names that Prefect knows: others it passes over."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = """
import zoneinfo
import tasks
from prefect.settings import get_current_settings
services = get_current_settings().server.services
print(services.task_run_recorder.batch_size, services.task_run_recorder.flush_interval,
      services.event_persister.batch_size, zoneinfo.TZPATH)
"""


SIZE = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE"


@pytest.mark.parametrize(
    ("more", "told"),
    [({}, "100 1.0 200 ()"), ({SIZE: "7", "PYTHONTZPATH": "/x"}, "7 1.0 200 ('/x',)")],
)
def test_task_runs_are_written_together_unless_somebody_says_otherwise(
    more: dict[str, str], told: str
) -> None:
    ours = ("PREFECT_", "PYTHONTZPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    answer = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**kept, **more},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == told
