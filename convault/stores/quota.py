"""A store that takes no more than a plan has room for (CONVAULT_STORE_QUOTA).

A plan that is full stops the whole project, not backups alone: so a backup stops before.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from convault.errors import QuotaExceeded
from convault.stores.base import ObjectInfo, Store


class QuotaStore:
    """Implements `stores.base.Store` on another store, whose objects together never exceed `quota`
    bytes by what is put here. What others write meanwhile is not seen."""

    def __init__(self, store: Store, quota: int) -> None:
        """Lists the store. QuotaExceeded when it is full already."""
        self._store = store
        self._quota = quota
        self._lock = Lock()
        self._sizes = {info.key: info.size for info in store.list()}
        self._used = sum(self._sizes.values())
        if self._used >= quota:
            raise self._full("Nothing was backed up")

    @property
    def url(self) -> str:
        """Of the store itself."""
        return self._store.url

    def put(self, key: str, data: bytes) -> bool:
        """As the store does. QuotaExceeded, before a byte is sent, when it does not fit."""
        with self._lock:
            # What failed halfway may be there: it counts, once, whatever becomes of it.
            if key not in self._sizes:
                self._reserve(key, len(data))
        return self._store.put(key, data)

    def replace(self, key: str, data: bytes) -> None:
        """As the store does. QuotaExceeded, before a byte is sent, when it does not fit."""
        with self._lock:
            self._reserve(key, len(data))
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
        """As the store does; its bytes are free again."""
        self._store.delete(key)
        with self._lock:
            self._used -= self._sizes.pop(key, 0)

    def flush(self) -> None:
        """As the store does."""
        self._store.flush()

    def _reserve(self, key: str, size: int) -> None:
        more = size - self._sizes.get(key, 0)
        if self._used + more > self._quota:
            raise self._full(f"The backup was stopped: {key} has {size:,} bytes more")
        self._sizes[key] = size
        self._used += more

    def _full(self, what: str) -> QuotaExceeded:
        return QuotaExceeded(
            f"{what}: {self.url} holds {self._used:,} bytes, and CONVAULT_STORE_QUOTA allows "
            f"{self._quota:,}. Nothing that was stored before is touched. Remove what no backup "
            "needs (`convault verify` names it), or backups that nobody needs; use a larger plan "
            "and raise CONVAULT_STORE_QUOTA; or keep backups elsewhere.",
            store=self.url,
            used=self._used,
            quota=self._quota,
        )
