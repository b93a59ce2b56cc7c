"""How often somebody came with a wrong key or token lately."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

WINDOW = 60.0
"""seconds"""
_MOST_ADDRESSES = 10_000
"""of which failures are remembered; those that failed longest ago are forgotten first"""


class Attempts:
    """Failed sign-ins by address, of the last minute. May be shared by threads."""

    def __init__(self, limit: int) -> None:
        """`limit`: failures in a minute after which an address is blocked."""
        self._limit = limit
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def failed(self, address: str, now: float | None = None) -> None:
        """One more; `now` in seconds of any clock that only goes on."""
        with self._lock:
            times = self._failures.setdefault(address, deque(maxlen=self._limit))
            times.append(time.monotonic() if now is None else now)
            self._failures.move_to_end(address)
            while len(self._failures) > _MOST_ADDRESSES:
                self._failures.popitem(last=False)

    def seconds_blocked(self, address: str, now: float | None = None) -> float:
        """Until it may try again; 0 when it may."""
        now = time.monotonic() if now is None else now
        with self._lock:
            times = self._failures.get(address)
            if times is None or len(times) < self._limit:
                return 0.0
            return max(0.0, times[0] + WINDOW - now)
