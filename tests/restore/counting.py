"""A store that counts what is read from it."""

from __future__ import annotations

from collections.abc import Iterator

from convault.stores.base import ObjectInfo, Store


class CountingStore:
    """Passes everything on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.bytes = 0
        self.requests = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def get(self, key: str) -> bytes:
        data = self._store.get(key)
        self.requests += 1
        self.bytes += len(data)
        return data

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        self.requests += 1
        for piece in self._store.stream(key, start, end):
            self.bytes += len(piece)
            yield piece

    def head(self, key: str) -> ObjectInfo:
        self.requests += 1
        return self._store.head(key)
