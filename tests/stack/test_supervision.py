"""Starting, watching and stopping, with small programs in the place of servers."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from honcho.printer import Printer

from convault.errors import PartFailed
from deployments.stack import supervision
from deployments.stack.parts import Part
from deployments.stack.supervision import Stopped, Supervision
from tests.patience import PATIENCE


def part(name: str, code: str, seconds: float = 30) -> Part:
    return Part(name, (sys.executable, "-c", code), dict(os.environ), stop_seconds=seconds)


def supervised(told: Callable[[], bool] = lambda: False) -> tuple[Supervision, io.StringIO]:
    output = io.StringIO()
    return Supervision(Printer(output), told), output


def test_a_part_that_does_not_start_is_told_with_what_it_said() -> None:
    stack, output = supervised()
    with pytest.raises(PartFailed) as caught:
        stack.start(part("api", "print('no such database'); raise SystemExit(3)"), lambda: False)
    assert "api ended with status 3 while it started" in caught.value.message
    assert "no such database" in caught.value.message
    assert "api" in output.getvalue()


def test_a_program_that_is_not_there_is_told() -> None:
    stack, _ = supervised()
    with pytest.raises(PartFailed, match="No such file"):
        stack.start(Part("api", ("/nowhere/python",), {}), lambda: True)


def test_one_that_never_is_healthy_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "START_SECONDS", 0.5)
    stack, _ = supervised()
    with pytest.raises(PartFailed, match="is not healthy after"):
        stack.start(
            part("api", "import time; print('hm', flush=True); time.sleep(99)"), lambda: False
        )
    stack.kill()


def test_told_to_stop_while_it_waits() -> None:
    stack, _ = supervised(lambda: True)
    with pytest.raises(Stopped):
        stack.start(part("api", "import time; time.sleep(99)"), lambda: False)
    stack.stop()


def test_what_dies_is_started_again_and_given_up_when_it_keeps_dying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "AGAIN_SECONDS", 0.1)
    marks = tmp_path / "marks"
    stack, output = supervised()
    code = f"open({str(marks)!r}, 'a').write('x'); raise SystemExit(7)"
    ready = part("worker", code)
    stack.start(ready, lambda: True)
    with pytest.raises(PartFailed, match="ended 5 times"):
        stack.watch()
    assert marks.read_text() == "x" * 5
    assert "worker ended with status 7; it is started again." in output.getvalue()


def test_they_are_stopped_in_the_opposite_order_with_all_that_they_started(tmp_path: Path) -> None:
    """The worker's child outlives the worker, and is heard out before the server is told."""
    log = tmp_path / "log"
    child = (
        "import signal,sys,time\n"
        "def end(*_):\n"
        f"    time.sleep(0.5); open({str(log)!r}, 'a').write('run '); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('child', flush=True); time.sleep(99)"
    )
    worker = (
        "import signal,subprocess,sys,time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "def end(*_):\n"
        "    child.terminate(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); time.sleep(99)"
    )
    server = (
        "import signal,sys,time\n"
        "def end(*_):\n"
        f"    open({str(log)!r}, 'a').write('server'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('server', flush=True); time.sleep(99)"
    )
    before = psutil.Process().children(recursive=True)
    output = io.StringIO()
    stack = Supervision(Printer(output), lambda: False)
    stack.start(part("prefect", server), lambda: "server" in output.getvalue())
    stack.start(part("worker", worker), lambda: "child" in output.getvalue())
    begun = [p for p in psutil.Process().children(recursive=True) if p not in before]
    assert len(begun) == 3
    stack.stop()
    assert log.read_text() == "run server"
    assert not [p for p in begun if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_what_does_not_stop_is_killed_in_time() -> None:
    stack, output = supervised()
    stubborn = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True); time.sleep(99)"
    )
    stack.start(part("api", stubborn, seconds=0.5), lambda: "up" in output.getvalue())
    stack.stop()
    assert "api did not stop in" in output.getvalue()


def test_a_part_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    inner = (
        "import os,time; from convault.lifeline import end_with_stdin; end_with_stdin()\n"
        f"open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(99)"
    )
    outer = (
        "import subprocess,sys,time\n"
        f"subprocess.Popen([sys.executable, '-c', {inner!r}], stdin=subprocess.PIPE)\n"
        "time.sleep(99)"
    )
    process = subprocess.Popen([sys.executable, "-c", outer])
    deadline = time.monotonic() + PATIENCE
    while not mark.exists() or not mark.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started = psutil.Process(int(mark.read_text()))
    process.send_signal(signal.SIGKILL)
    process.wait()
    while started.is_running() and started.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_told_from_another_thread_it_stops_watching() -> None:
    over = threading.Event()
    stack, output = supervised(over.is_set)
    stack.start(
        part("api", "import time; print('up', flush=True); time.sleep(99)"),
        lambda: "up" in output.getvalue(),
    )
    threading.Timer(0.3, over.set).start()
    stack.watch()
    stack.stop()
