"""Parts are started in order, each when the one before is healthy; started anew when they die; and
stopped in the opposite order, each when what came after it is gone."""

from __future__ import annotations

import queue
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from honcho.printer import Printer

from convault.errors import PartFailed
from deployments.stack.parts import Part
from deployments.stack.process import Events, Running

START_SECONDS = 300.0
"""A part takes 3 to 10; a busy machine may take much longer, and one that died is told at once."""
DEATHS = 5
"""in `DEATHS_SECONDS`, after which a part is given up"""
DEATHS_SECONDS = 60.0
AGAIN_SECONDS = 10.0
"""at most, before a part that died is started again; the first time it is at once"""
_TAIL = 12
"""lines that are shown of a part that failed"""
_COLOURS = ("36", "33", "32", "35")


class Stopped(Exception):
    """Somebody told us to stop while we waited for something."""


@dataclass
class _Kept:
    """A part, and the processes that it had: what an earlier one started may still run."""

    part: Part
    colour: str
    runs: list[Running]


class Supervision:
    """The processes of a stack. One thread uses it."""

    def __init__(self, printer: Printer, told_to_stop: Callable[[], bool]) -> None:
        self._printer = printer
        self._told_to_stop = told_to_stop
        self._events: Events = queue.Queue()
        self._kept: dict[str, _Kept] = {}
        self._tails: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_TAIL))
        self._deaths: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=DEATHS))
        self._again: dict[str, float] = {}
        """by name: when a part that died is started again, by the monotonic clock"""

    def start(self, part: Part, healthy: Callable[[], bool]) -> None:
        """Start it and wait until it is healthy. PartFailed, with what it said last; Stopped."""
        self._printer.width = max(self._printer.width, len(part.name))
        colour = _COLOURS[len(self._kept) % len(_COLOURS)]
        kept = self._kept[part.name] = _Kept(part, colour, [])
        self._run(kept)
        deadline = time.monotonic() + START_SECONDS
        while not healthy():
            self._pass(0.1)
            if self._told_to_stop():
                raise Stopped
            status = kept.runs[-1].ended
            if status is not None:
                raise self._failure(part.name, f"ended {_ending(status)} while it started")
            if time.monotonic() > deadline:
                raise self._failure(part.name, f"is not healthy after {START_SECONDS:.0f} s")

    def watch(self) -> None:
        """Show what the parts say, and start those again that end, until told to stop. PartFailed
        when one keeps ending."""
        while not self._told_to_stop():
            self._pass(0.25)
            now = time.monotonic()
            for kept in self._kept.values():
                name = kept.part.name
                if name in self._again:
                    if now >= self._again[name]:
                        del self._again[name]
                        self._run(kept)
                elif (status := kept.runs[-1].ended) is not None:
                    self._died(name, status, now)

    def stop(self) -> None:
        """Stop all, the last that was started first. What does not stop in its time is killed, and
        all at once when we are told to stop a second time."""
        for kept in reversed(self._kept.values()):
            self._stop(kept)
        self._pass(0)

    def kill(self) -> None:
        """End everything at once."""
        for kept in self._kept.values():
            for run in kept.runs:
                run.kill()
                run.collect()

    def say(self, text: str) -> None:
        """A line of our own among those of the parts."""
        self._print("convault", text, None)

    def _run(self, kept: _Kept) -> None:
        part = kept.part
        try:
            kept.runs.append(
                Running(part.name, part.command, part.environment, self._events, kept.colour)
            )
        except OSError as error:
            raise PartFailed(
                f"{part.name} cannot be started: {error.strerror} ({part.command[0]}).",
                part=part.name,
            ) from None

    def _died(self, name: str, status: int, now: float) -> None:
        deaths = self._deaths[name]
        deaths.append(now)
        if len(deaths) == DEATHS and now - deaths[0] < DEATHS_SECONDS:
            raise self._failure(name, f"ended {DEATHS} times in {now - deaths[0]:.0f} s")
        self.say(f"{name} ended {_ending(status)}; it is started again.")
        self._again[name] = now + min(2.0 ** (len(deaths) - 1) - 1, AGAIN_SECONDS)

    def _stop(self, kept: _Kept) -> None:
        runs = [run for run in kept.runs if run.group_lives()]
        for run in runs:
            if run.ended is None:
                run.tell_to_stop()
            else:
                run.tell_all_to_stop()  # it was killed, and left something
        begun = time.monotonic()
        patience = kept.part.stop_seconds
        passed_on = False
        while any(run.group_lives() for run in runs):
            self._pass(0.2)
            gone = all(run.ended is not None for run in runs)
            if not passed_on and gone and time.monotonic() - begun > patience / 2:
                # Whatever was not told by the process that started it.
                passed_on = True
                for run in runs:
                    run.tell_all_to_stop()
            if time.monotonic() - begun > patience:
                self.say(f"{kept.part.name} did not stop in {patience:.0f} s.")
                for run in runs:
                    run.kill()
                break
        for run in kept.runs:
            run.collect()

    def _pass(self, seconds: float) -> None:
        """Let that time pass, and show what is said meanwhile."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                message = self._events.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                return
            if message.type == "line":
                text = message.data.decode("utf-8", "replace").rstrip("\n")
                self._tails[message.name].append(text)
                self._print(message.name, text, message.colour)

    def _print(self, name: str, text: str, colour: str | None) -> None:
        from datetime import datetime

        from honcho.printer import Message

        self._printer.write(
            Message(type="line", data=text, time=datetime.now(), name=name, colour=colour)
        )

    def _failure(self, name: str, what: str) -> PartFailed:
        self._pass(0.3)
        said = [line for line in self._tails[name] if line.strip()]
        told = "\n".join(f"  {line}" for line in said) or "  (nothing)"
        return PartFailed(f"{name} {what}. The last that it said:\n{told}", part=name)


def _ending(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with status {status}"
