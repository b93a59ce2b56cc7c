"""Sessions that are kept for the next call: who answers many would spend its time connecting.

Not psycopg_pool: it connects in threads of its own and tells who waits for it of a timeout, not of
the reason why the server refuses.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from psycopg.pq import TransactionStatus

from convault.catalog.connection import Connection, connect, translated
from convault.errors import CatalogUnavailable

MAX_IDLE = 60.0
"""seconds after which a session is not used again: firewalls and poolers forget idle ones"""


class IdleConnections:
    """Up to `most` sessions that nobody uses; any thread may ask. With 0 none is kept."""

    def __init__(self, url: str, most: int) -> None:
        """Nothing is connected yet."""
        self._url = url
        self._most = most
        self._lock = Lock()
        self._idle: list[tuple[float, Connection]] = []
        # Not __del__: where this is part of a cycle, that of a session may be called first.
        weakref.finalize(self, _let_go, self._lock, self._idle)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A session for the block; kept behind it, unless something went wrong. The errors of
        `connection.connect`, and those of the driver, translated."""
        connection = self._take() or connect(self._url)
        sound = False
        try:
            with translated():
                yield connection
            sound = connection.info.transaction_status is TransactionStatus.IDLE
        except CatalogUnavailable:
            self.close()  # what was lost here was lost for all of them: the server restarted
            raise
        finally:
            if not (sound and self._keep(connection)):
                connection.close()

    def close(self) -> None:
        """Let all go."""
        _let_go(self._lock, self._idle)

    def _take(self) -> Connection | None:
        with self._lock:
            since, connection = self._idle.pop() if self._idle else (0.0, None)
        if connection is None or time.monotonic() - since <= MAX_IDLE:
            return connection
        connection.close()
        self.close()  # those below it are older
        return None

    def _keep(self, connection: Connection) -> bool:
        with self._lock:
            if len(self._idle) >= self._most:
                return False
            self._idle.append((time.monotonic(), connection))
            return True


def _let_go(lock: Lock, idle: list[tuple[float, Connection]]) -> None:
    with lock:
        sessions = [connection for _, connection in idle]
        idle.clear()
    for connection in sessions:
        connection.close()
