"""How long a run may take (CONVAULT_MAX_HOURS).

As long as a backup reads, it holds a snapshot, which keeps dead rows from being removed, and locks
behind which a migration waits, and behind that the application. So there is an end to it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from convault.catalog.base import Lease
from convault.errors import RunTooLong


class Deadline:
    """Counts from when it is made."""

    def __init__(self, hours: float) -> None:
        self._hours = hours
        self._at = time.monotonic() + hours * 3600

    @property
    def expired(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._at

    def check(self) -> None:
        """RunTooLong when it is."""
        if self.expired:
            raise self.error()

    def error(self) -> RunTooLong:
        """What is told of it."""
        return RunTooLong(
            f"The backup took longer than CONVAULT_MAX_HOURS allows ({self._hours:g} h), so it let "
            "go of its locks and its snapshot, and nothing was committed. What it stored is found "
            "again by the next one. See which step is slow (`convault show`): an upload limit, a "
            "network, or one large table; or allow more time, with CONVAULT_SWEEP_GRACE above it."
        )

    @contextmanager
    def letting_go(self, let_go: Callable[[], None]) -> Iterator[None]:
        """When the time is over inside the block `let_go` is called, once, from another thread,
        whatever the block is waiting for."""
        timer = threading.Timer(max(0.0, self._at - time.monotonic()), let_go)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def limiting(self, lease: Lease) -> Lease:
        """The lease, which proves nothing any more when the time is over: so no manifest is
        written then, and a sweep knows how long a backup may be at work."""
        return _Limited(lease, self)


class _Limited:
    def __init__(self, lease: Lease, deadline: Deadline) -> None:
        self._lease = lease
        self._deadline = deadline

    def __enter__(self) -> Lease:
        return self._lease.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._lease.__exit__(kind, error, trace)

    def check(self) -> None:
        self._deadline.check()
        self._lease.check()
