"""Being told to stop in the middle of what must be finished."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def stop_behind(error: BaseException) -> BaseException | None:
    """What told the process to stop, where that is what led to `error`: itself, or what was being
    handled when it came up. Prefect's engine may stumble over being interrupted between two tasks,
    and raise an error of its own in the stead of it. Not what somebody dealt with who then raised
    their own `from None`: a connection that is not made in time ends in a cancellation, too."""
    seen: set[int] = set()
    while id(error) not in seen:
        if not isinstance(error, Exception | GeneratorExit):
            return error
        seen.add(id(error))
        before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if before is None:
            break
        error = before
    return None


@contextmanager
def finished_first() -> Iterator[None]:
    """SIGTERM does not end the block, behind which the run ends anyway. All that was read and
    stored would be for nothing otherwise, for the sake of a second or two. (What is killed for good
    there loses nothing either: a backup exists if and only if its manifest does.) When the block
    fails, and somebody might try again, the signal is heard after all.

    Does nothing outside of the main thread, where signals cannot be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        told.append(number)

    before = signal.signal(signal.SIGTERM, remember)
    finished = False
    try:
        yield
        finished = True
    finally:
        # None: it was set by something other than Python, and cannot be set again from here.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
        if told and not finished:
            os.kill(os.getpid(), signal.SIGTERM)
