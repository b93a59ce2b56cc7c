"""Progress on stderr while a command works: bars in a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TaskID as RichTask

from cli.output import number, printable, say, size
from convault.progress import Progress as Event
from convault.progress import listening

_PLAIN_SECONDS = 5.0
"""between two lines of the same step where there is no terminal"""


@contextmanager
def shown() -> Iterator[None]:
    """Show the progress that the block reports (convault.progress.report)."""
    if sys.stderr.isatty():
        with _Bars() as bars, listening(bars.on_event):
            yield
    else:
        with listening(_Lines().on_event):
            yield


class _Bars:
    """A bar per step, in the order the steps begin."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[step]:<10}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]:>24}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[subject]}", markup=False),
            console=Console(stderr=True, highlight=False),
        )
        self._tasks: dict[str, RichTask] = {}
        self._last: dict[str, Event] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            for event in list(self._last.values()):
                self.on_event(
                    replace(event, done=event.done if event.total is None else event.total)
                )
            self._end_open_ones(uncounted=False)
        self._progress.stop()

    def on_event(self, event: Event) -> None:
        finished = event.total is not None and event.done >= event.total
        with self._lock:
            task = self._tasks.get(event.step)
            if task is None:
                self._end_open_ones(uncounted=True)
                task = self._progress.add_task(
                    "", total=event.total, step=event.step, amount="", subject=""
                )
                self._tasks[event.step] = task
            self._last[event.step] = event
            self._progress.update(
                task,
                completed=event.done,
                total=event.total,
                amount=_amount(event),
                subject="" if finished else printable(event.subject),
            )

    def _end_open_ones(self, *, uncounted: bool) -> None:
        """Fill the bars of steps whose length nobody told; with `uncounted`, only of those that
        count nothing either, and so are over when another step begins."""
        for task in self._progress.tasks:
            if task.total is None and not (uncounted and task.fields["amount"]):
                self._progress.update(task.id, total=1, completed=1, subject="")


class _Lines:
    """A line when a step begins and when it is done, and one every few seconds between."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}
        self._finished: set[str] = set()
        self._lock = threading.Lock()

    def on_event(self, event: Event) -> None:
        now = time.monotonic()
        finished = event.total is not None and event.done >= event.total
        with self._lock:
            if event.step in self._finished and finished:
                return
            if not finished and now - self._told.get(event.step, -_PLAIN_SECONDS) < _PLAIN_SECONDS:
                return
            self._told[event.step] = now
            if finished:
                self._finished.add(event.step)
            else:
                self._finished.discard(event.step)
        amount = _amount(event)
        say(f"{event.step}: {amount or event.subject}")


def _amount(event: Event) -> str:
    if not event.done and event.total is None:
        return ""
    if event.unit == "bytes":
        return size(event.done) + (f" of {size(event.total)}" if event.total is not None else "")
    of = f"/{number(event.total)}" if event.total is not None else ""
    return f"{number(event.done)}{of} {event.unit}"
