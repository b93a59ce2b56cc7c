"""One process of a stack: started, listened to, and stopped with everything that it started.

Starting and reading is honcho's. A process leads a group of its own, so that Ctrl-C in the terminal
is ours to handle, and gets a stdin that ends with us, so that it ends when we are killed.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
from honcho.process import Process as Reader

Events = queue.Queue[Any]
"""honcho's messages: `start` with a pid, `line` with bytes, `stop` with a returncode"""


class Running:
    """A process that was started."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], events: Events,
        colour: str | None = None,
    ) -> None:  # fmt: skip
        """What it says and when it ends is put into `events`."""
        self.name = name
        self._reader = Reader(list(command), name=name, colour=colour, env=dict(environment))
        self._reader._child_ctor = self._started
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(
            target=self._run, args=(events,), name=f"reader of {name}", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        assert self._child is not None
        return self._child.pid

    @property
    def ended(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        assert self._child is not None
        return self._child.poll()

    def tell_to_stop(self) -> None:
        """SIGTERM to the process, which passes it on to what it started as it sees fit."""
        self._send(os.kill)

    def tell_all_to_stop(self) -> None:
        """SIGTERM to whatever is left of its group."""
        self._send(os.killpg)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        self._send(os.killpg, signal.SIGKILL)

    def collect(self) -> None:
        """Wait for what a process that is gone said last."""
        self._thread.join(5)

    def group_lives(self) -> bool:
        """Whether anything that it started, or it itself, still runs."""
        for process in psutil.process_iter(["status"]):
            try:
                ours = os.getpgid(process.pid) == self.pid
            except (ProcessLookupError, PermissionError):
                continue
            if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
                return True
        return False

    def _run(self, events: Events) -> None:
        try:
            self._reader.run(events)
        except OSError as error:
            self._failure = error
            self._ready.set()
            return
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()

    def _started(self, command: Sequence[str], **given: Any) -> subprocess.Popen[bytes]:
        self._child = subprocess.Popen(
            command,
            env=given["env"],
            stdin=subprocess.PIPE,  # nothing is written: it ends when we do
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._ready.set()
        return self._child

    def _send(self, send: Any, number: int = signal.SIGTERM) -> None:
        try:
            send(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return
