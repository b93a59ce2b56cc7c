"""A store in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore as Backend

from convault.errors import ObjectConflict, ObjectMissing, StoreUnavailable
from convault.stores.answers import RangeIgnored, answered, container_missing
from convault.stores.keys import check_key
from convault.stores.objects import PIECE_BYTES, ObjectStore
from convault.stores.payload import Payload
from convault.stores.services import Service

ONE_REQUEST_BYTES = 40 * 1024 * 1024
"""What is put in one request, and so under the condition that nothing is there. A full part of
32 MiB stays below it, whatever compression and encryption add."""
MULTIPART_BYTES = 8 * 1024 * 1024
MULTIPART_REQUESTS = 4
RESTARTS = 3
"""How often a read of a whole object may break without giving another byte."""
LOOKS = (0.0, 0.1, 0.3, 1.0)
"""Seconds before each look for an object that must be there: where a server does not honour the
condition, it is gone for a moment while another writer replaces it by the same bytes."""


class BucketStore(ObjectStore):
    """Implements `stores.base.Store` over HTTP.

    `put` asks whether the object is there, puts it under the condition that it is not
    (`If-None-Match: *`, or what the service has instead), and then compares the size that lies
    there. A server that honours the condition lets one of several writers at once succeed; with one
    that ignores it, the last of them wins: all or nothing still, but not create-only. The same
    holds for objects of more than 40 MiB, which are put in several requests. Convault does not
    rely on it: keys of parts hold the digest of their bytes, and who may commit is settled in the
    catalog.
    """

    def __init__(self, backend: Backend, url: str, service: Service) -> None:
        """`backend` tries again and has timeouts of its own; `url` holds no credentials."""
        super().__init__(backend, url)
        self._service = service
        self._gives_ranges = True
        """False once the server answered a range with the whole object"""

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        check_key(key)
        with self._failures(f"deleting {key}"):
            try:
                obstore.delete(self._backend, key)
            except FileNotFoundError:
                self._check_container()

    def flush(self) -> None:
        """Nothing to do: these services answer a put only when the object is on stable storage,
        and there is no later moment that they would tell of."""

    def _create(self, key: str, data: Payload) -> bool:
        # Asked first also where the condition is honoured: it saves sending what is there.
        if self._size(key) is not None:
            return False
        try:
            if data.size <= ONE_REQUEST_BYTES:
                obstore.put(self._backend, key, data.whole(), mode="create", use_multipart=False)
            else:
                self._put_in_pieces(key, data)
        except AlreadyExistsError:
            return False
        except FileNotFoundError:
            raise container_missing(self._url, self._service) from None
        stored = self._there(key)
        if stored != data.size:
            raise ObjectConflict(
                f"{self._url} was given {key} with {data.size} bytes and now holds {stored}: "
                "somebody else writes there. Let only one installation use it, and try again.",
                key=key,
            )
        return True

    def _overwrite(self, key: str, data: bytes) -> None:
        # All of these services let an object be seen when its last byte has come, not before.
        try:
            if len(data) <= ONE_REQUEST_BYTES:
                super()._overwrite(key, data)
            else:
                self._put_in_pieces(key, Payload(data))
        except FileNotFoundError:
            raise container_missing(self._url, self._service) from None

    def _put_in_pieces(self, key: str, data: Payload) -> None:
        obstore.put(
            self._backend,
            key,
            data.open(),
            use_multipart=True,
            chunk_size=MULTIPART_BYTES,
            max_concurrency=MULTIPART_REQUESTS,
        )

    def _size(self, key: str) -> int | None:
        try:
            return int(obstore.head(self._backend, key)["size"])
        except FileNotFoundError:
            return None

    def _there(self, key: str) -> int:
        for seconds in LOOKS:
            time.sleep(seconds)
            with self._failures(f"looking at {key}"):
                size = self._size(key)
            if size is not None:
                return size
        raise StoreUnavailable(
            f"{self._url} took {key} or refused it as being there, and then did not have it: "
            "somebody else writes or deletes there. Try again.",
            key=key,
        )

    def _pieces(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        position = start
        if self._gives_ranges:
            try:
                for piece in super()._pieces(key, position, stop):
                    position += len(piece)
                    yield piece
            except RangeIgnored:
                self._gives_ranges = False
            else:
                return
        yield from self._cut_out(key, position, stop)

    def _cut_out(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) from a server that only gives whole objects. A read that breaks is
        begun again, as long as each brings something new: what reads slowly would else never get
        to the end of a large object within the time that a request may take."""
        position, broken = start, 0
        while position < stop:
            try:
                for piece in self._whole(key, position, stop):
                    position += len(piece)
                    broken = 0
                    yield piece
            except (StoreUnavailable, RangeIgnored):  # the latter when obstore resumes by itself
                broken += 1
                if broken > RESTARTS:
                    raise

    def _whole(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        with self._failures(f"reading {key}"):
            try:
                chunks = iter(obstore.get(self._backend, key).stream(min_chunk_size=1024 * 1024))
            except FileNotFoundError:
                raise self._missing(key) from None
        offset = 0
        while offset < stop:
            with self._failures(f"reading {key}"):
                chunk = next(chunks, None)
            if chunk is None:
                raise self._short(key, stop, offset)
            view = memoryview(chunk)[max(start - offset, 0) : stop - offset]
            for first in range(0, len(view), PIECE_BYTES):
                yield bytes(view[first : first + PIECE_BYTES])
            offset += len(chunk)

    def _failures(self, doing: str) -> AbstractContextManager[None]:
        return answered(doing, self._url, self._service)

    def _missing(self, key: str) -> ObjectMissing:
        self._check_container()
        return super()._missing(key)

    def _check_container(self) -> None:
        """An answer without a body does not tell a missing object from a missing bucket; a listing
        does."""
        for _ in obstore.list(self._backend, "is-there", chunk_size=1):
            return
