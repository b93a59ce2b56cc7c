"""Progress events, so that a terminal or an artifact can follow a run without the run knowing it.

A listener is set for a context (`with listening(listener):`) and inherited by the threads that
Prefect's task runner starts, which copy the context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One event. `done` of `total` in `unit`; `total` is None where it is not known yet."""

    step: str
    """snapshot, chunk, fetch, serialize, compress, upload, count, commit, load, ..."""
    subject: str
    """table and range, or what is being done"""
    done: int
    total: int | None
    unit: str
    """chunks, rows or bytes"""


Listener = Callable[[Progress], None]

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("convault_progress", default=())


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` (from any worker's thread) for each event inside the block."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def report(
    step: str, subject: str, *, done: int = 0, total: int | None = None, unit: str = "rows"
) -> None:
    """Tell every listener of this context."""
    for listener in _listeners.get():
        listener(Progress(step, subject, done, total, unit))
