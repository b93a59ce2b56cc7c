"""How long a test waits for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PATIENCE = 300.0
"""Seconds after which something hangs and is not merely slow: machines, and what else runs on them,
differ by ten times. No figure that a test asserts."""

T = TypeVar("T")


def awaited(ask: Callable[[], T], log: Path | None = None, *, pause: float = 0.2) -> T:
    """What `ask` gives, as soon as that is something; it is asked every `pause` seconds. Otherwise
    the end of `log`, or of all logs in that folder, tells why."""
    deadline = time.monotonic() + PATIENCE
    while not (found := ask()):
        assert time.monotonic() < deadline, _ends(log)
        time.sleep(pause)
    return found


def _ends(log: Path | None) -> str:
    logs = [] if log is None else sorted(log.glob("*.log")) if log.is_dir() else [log]
    return "\n".join(each.read_text()[-4000:] for each in logs)
