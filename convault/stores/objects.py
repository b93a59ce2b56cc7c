"""A store on obstore: what a folder, memory and (later) the clouds have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore as Backend

from convault.errors import ObjectConflict, ObjectMissing, StoreError
from convault.stores.base import ObjectInfo
from convault.stores.failures import translated
from convault.stores.keys import check_key, check_prefix, is_key
from convault.stores.payload import Payload

PIECE_BYTES = 1024 * 1024
"""What `stream` holds of an object at a time."""


class ObjectStore:
    """Implements `stores.base.Store`. As it stands it is for memory: a folder needs more to be
    safe (`FolderStore`)."""

    def __init__(self, backend: Backend, url: str) -> None:
        self._backend = backend
        self._url = url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    @property
    def url(self) -> str:
        """Where it is, for people. Never credentials."""
        return self._url

    def put(self, key: str, data: bytes) -> bool:
        """Store `data`, create-only; True if this call wrote it. ObjectConflict when an object of
        another size is there."""
        return self._put(key, Payload(data))

    def put_file(self, key: str, file: BinaryIO) -> bool:
        """The same with the bytes of a file; memory is bounded, but in a memory store."""
        return self._put(key, Payload(file))

    def _put(self, key: str, data: Payload) -> bool:
        check_key(key)
        with self._failures(f"storing {key}"):
            if self._create(key, data):
                return True
        there = self._there(key)
        if there != data.size:
            raise ObjectConflict(
                f"{self._url} already holds {key} with {there} bytes where {data.size} were to be "
                "stored. It is damaged or was not written by Convault: move it away and try again.",
                key=key,
            )
        return False

    def replace(self, key: str, data: bytes) -> None:
        """Store `data` in place of whatever object is there, all or nothing."""
        check_key(key)
        with self._failures(f"replacing {key}"):
            self._overwrite(key, data)

    def get(self, key: str) -> bytes:
        """The whole object. ObjectMissing."""
        return b"".join(self.stream(key))

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes [start, end) in pieces of at most 4 MiB. ObjectMissing; StoreError when the object
        is shorter than `end`, or becomes so. Missing and short objects are found at the call, not
        at the first piece."""
        size = self.head(key).size
        stop = size if end is None else end
        if not 0 <= start <= stop:
            raise ValueError(f"not a range of bytes: {start} to {stop}")
        if stop > size:
            raise self._short(key, stop, size)
        return self._pieces(key, start, stop)

    def _pieces(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            wanted = min(PIECE_BYTES, stop - start)
            # Sizes are checked first, and only then is a range asked for: obstore panics or
            # answers less where a range reaches past the end.
            with self._failures(f"reading {key}"):
                try:
                    piece = obstore.get_range(self._backend, key, start=start, length=wanted)
                except FileNotFoundError:
                    raise self._missing(key) from None
            if len(piece) != wanted:
                raise self._short(key, stop, start + len(piece))
            yield piece.to_bytes()
            start += wanted

    def head(self, key: str) -> ObjectInfo:
        """Size and time. ObjectMissing."""
        check_key(key)
        with self._failures(f"looking at {key}"):
            try:
                meta = obstore.head(self._backend, key)
            except FileNotFoundError:
                raise self._missing(key) from None
        return ObjectInfo(key, meta["size"], meta["last_modified"])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object under the folder `prefix`. What a killed write left is no object."""
        check_prefix(prefix)
        with self._failures(f"listing {prefix or 'everything'}"):
            for chunk in obstore.list(self._backend, prefix or None, chunk_size=1000):
                for meta in chunk:
                    if is_key(meta["path"]):
                        yield ObjectInfo(meta["path"], meta["size"], meta["last_modified"])

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        check_key(key)
        with self._failures(f"deleting {key}"):
            try:
                obstore.delete(self._backend, key)
            except FileNotFoundError:
                return

    def flush(self) -> None:
        """Nothing to do: memory is as stable as it will ever be."""

    def _create(self, key: str, data: Payload) -> bool:
        """Write a new object all or nothing; False if one is there already."""
        try:
            obstore.put(self._backend, key, data.whole(), mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def _overwrite(self, key: str, data: bytes) -> None:
        """Write an object all or nothing, over the one that is there."""
        obstore.put(self._backend, key, data, mode="overwrite", use_multipart=False)

    def _there(self, key: str) -> int:
        """Size of what kept us from creating `key`."""
        try:
            return self.head(key).size
        except ObjectMissing:
            raise ObjectConflict(
                f"{self._url} holds something under {key} that is no object. Move it away and try "
                "again.",
                key=key,
            ) from None

    def _failures(self, doing: str) -> AbstractContextManager[None]:
        return translated(doing, self._url)

    def _missing(self, key: str) -> ObjectMissing:
        return ObjectMissing(
            f"{self._url} does not hold {key}. If it was deleted or the disk was replaced, the "
            "backups that need it cannot be read.",
            key=key,
        )

    def _short(self, key: str, wanted: int, size: int) -> StoreError:
        return StoreError(
            f"{key} in {self._url} ends at byte {size}, before byte {wanted}: it was cut off.",
            key=key,
        )
