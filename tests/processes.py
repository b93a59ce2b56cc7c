"""Processes of this machine that work in a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.patience import awaited


def processes_of(folder: Path) -> list[str]:
    """Command lines that name `folder`."""
    listed = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]


def await_end(folder: Path) -> None:
    """Until none of them is left: a Postgres that was stopped takes its pid file away before it
    ends."""
    awaited(lambda: not processes_of(folder))
