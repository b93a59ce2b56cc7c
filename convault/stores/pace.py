"""A store that is sent so many bytes a second at most (CONVAULT_UPLOAD_LIMIT).

A line that a backup fills is a line that the application's users wait for.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from threading import Lock
from typing import BinaryIO

from convault.stores.base import ObjectInfo, Store

BURST_SECONDS = 1.0
"""of the rate: what may go at once after a pause"""


class TokenBucket:
    """So many bytes a second for all who share it, whichever threads they are in."""

    def __init__(
        self, rate: float, clock: Callable[[], float] = time.monotonic, *, empty: bool = False
    ) -> None:
        """`rate` in bytes a second; `clock` in seconds. An `empty` one lets nothing go at once when
        it begins."""
        self._rate = rate
        self._clock = clock
        self._lock = Lock()
        self._tokens = 0.0 if empty else rate * BURST_SECONDS
        self._at = clock()

    def reserve(self, count: int) -> float:
        """Take `count` bytes; the seconds to wait before they are sent. What is more than there is
        becomes a debt, so those who come after wait for it too."""
        with self._lock:
            now = self._clock()
            most = self._rate * BURST_SECONDS
            self._tokens = min(most, self._tokens + (now - self._at) * self._rate) - count
            self._at = now
            return max(0.0, -self._tokens / self._rate)

    def wait(self, count: int) -> None:
        """Until `count` more bytes may be sent."""
        seconds = self.reserve(count)
        if seconds:
            time.sleep(seconds)


class PacedStore:
    """Implements `stores.base.Store` on another store. Objects in memory wait and then go as a
    whole; files go a piece at a time. Reading is not slowed."""

    def __init__(self, store: Store, bucket: TokenBucket) -> None:
        self._store = store
        self._bucket = bucket

    @property
    def url(self) -> str:
        """Of the store itself."""
        return self._store.url

    def put(self, key: str, data: bytes) -> bool:
        """As the store does, when the bytes may be sent."""
        self._bucket.wait(len(data))
        return self._store.put(key, data)

    def put_file(self, key: str, file: BinaryIO) -> bool:
        """As the store does, at the pace of the bucket."""
        return self._store.put_file(key, _PacedFile(file, self._bucket))

    def replace(self, key: str, data: bytes) -> None:
        """As the store does, when the bytes may be sent."""
        self._bucket.wait(len(data))
        self._store.replace(key, data)

    def get(self, key: str) -> bytes:
        """As the store does."""
        return self._store.get(key)

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As the store does."""
        return self._store.stream(key, start, end)

    def head(self, key: str) -> ObjectInfo:
        """As the store does."""
        return self._store.head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """As the store does."""
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        """As the store does."""
        self._store.delete(key)

    def flush(self) -> None:
        """As the store does."""
        self._store.flush()


class _PacedFile(io.BufferedIOBase, BinaryIO):
    """A file that is read no faster than the bucket allows."""

    def __init__(self, file: BinaryIO, bucket: TokenBucket) -> None:
        self._file = file
        self._bucket = bucket

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """As the stores want it."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """As of the file."""
        data = self._file.read(-1 if size is None else size)
        self._bucket.wait(len(data))
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As of the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of the file."""
        return self._file.tell()
