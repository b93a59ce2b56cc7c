"""Work that must not hold anybody up: in a thread of its own, for so many seconds at most.

A library's timeout is between two bytes; a peer that sends one every second holds it for ever.
Such a thread is left behind: it keeps no process from ending. What libraries log in it is dropped,
because addresses of notifications hold tokens.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

_NAME = "convault tells"
_TALKATIVE = ("apprise", "requests", "urllib3", "urllib3.connectionpool", "urllib3.util.retry")


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not threading.current_thread().name.startswith(_NAME)


_QUIET = _Quiet()


def each(calls: Sequence[Callable[[], None]], seconds: float) -> list[str]:
    """Make all calls at the same time; of each '' when it ended well, or the name of what it
    raised, or `no answer within N s`."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_QUIET)  # once, however often it is added
    ends = [f"no answer within {seconds:g} s"] * len(calls)

    def run(number: int) -> None:
        try:
            calls[number]()
        except Exception as error:  # noqa: BLE001  its text may hold an address; its name is told
            ends[number] = str(error) if isinstance(error, Refused) else type(error).__name__
        else:
            ends[number] = ""

    threads = [
        threading.Thread(target=run, args=[number], name=f"{_NAME} {number}", daemon=True)
        for number in range(len(calls))
    ]
    for thread in threads:
        thread.start()
    left = threading.Event()
    timer = threading.Timer(seconds, left.set)
    timer.daemon = True
    timer.start()
    for thread in threads:
        while thread.is_alive() and not left.is_set():
            thread.join(0.05)
    timer.cancel()
    return list(ends)


class Refused(Exception):
    """Why it did not work, in words that hold nothing of an address."""
