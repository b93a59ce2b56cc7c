"""What something took: seconds of the clock, CPU of all processes that had a hand in it, memory.

CPU is read from /proc, where there is one (Linux): of the process and of those it has waited for,
of the Postgres server with every process of it, of the Prefect server. Memory is the most that one
of our processes held at a time, as the kernel counted it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convault.embedded.server import EmbeddedPostgres

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Taken:
    """What one run of a case took."""

    wall: float = 0.0
    """seconds"""
    cpu: float = 0.0
    """seconds, of all processes together"""
    postgres: float = 0.0
    """of these, the Postgres server's"""
    prefect: float = 0.0
    """of these, the Prefect server's"""
    peak: float = 0.0
    """MiB, of our largest process; Postgres and the Prefect server left out"""
    bytes: int = 0
    """written"""

    def as_json(self) -> dict[str, Any]:
        """The numbers, rounded."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def tree_seconds(pid: int) -> float:
    """CPU seconds of a process and of all below it, those that have ended and were waited for
    included; 0 where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    own = sum(map(int, fields[11:15])) / _TICKS
    return own + sum(tree_seconds(int(child)) for child in children)


def postmaster(server: EmbeddedPostgres) -> int:
    """Its process id."""
    return int((server.data / "postmaster.pid").read_text().split()[0])


@contextmanager
def measured(postgres: int, prefect: int | None = None) -> Iterator[Taken]:
    """What the block takes, in this process; filled when it ends."""
    taken = Taken()
    began = _readings(postgres, prefect)
    yield taken
    ended = _readings(postgres, prefect)
    taken.wall, own, taken.postgres, taken.prefect = (
        after - before for before, after in zip(began, ended, strict=True)
    )
    taken.cpu = own + taken.postgres + taken.prefect
    taken.peak = _peak()


def command(words: str, postgres: int) -> Taken:
    """What a shell command takes. SystemExit when it fails."""
    began = _children()
    with measured(postgres) as taken:
        # Its CPU counts when it is waited for, and that of a pipe's programs when the shell is.
        done = subprocess.run(["bash", "-c", f"set -o pipefail; {words}"], check=False)
    if done.returncode:
        raise SystemExit(f"failed: {words}")
    taken.cpu += _children()[0] - began[0]
    taken.peak = _children()[1]
    return taken


def _readings(postgres: int, prefect: int | None) -> tuple[float, float, float, float]:
    server = 0.0 if prefect is None else tree_seconds(prefect)
    return time.monotonic(), time.process_time(), tree_seconds(postgres), server


def _children() -> tuple[float, float]:
    """CPU seconds of what was waited for, and MiB of the largest so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _peak() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
