"""A store in a private bucket of Supabase Storage."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from threading import Lock
from typing import Any, BinaryIO

import httpx

from convault.errors import (
    ConfigurationError,
    ObjectConflict,
    ObjectMissing,
    StoreError,
    StoreUnavailable,
)
from convault.stores.base import ObjectInfo
from convault.stores.bucket import LOOKS
from convault.stores.keys import check_key, check_prefix, is_key
from convault.stores.payload import Payload
from convault.stores.supabase.answers import Refused, too_large
from convault.stores.supabase.api import StorageApi, object_path
from convault.stores.supabase.listing import Listing, info
from convault.stores.supabase.uploads import Uploads

LOOK_FIRST_BYTES = 64 * 1024
"""From here on it is asked whether an object is there before its bytes are sent."""
PIECE_BYTES = 1024 * 1024
_REREADS = 5
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class _Replaced(StoreUnavailable):
    """What was read so far and what would follow are of two objects."""


class SupabaseStore:
    """Implements `stores.base.Store`.

    `put` is create-only by the protocol's own means: without `x-upsert` the server refuses a name
    that is taken, and shows an object only when its last byte has come.
    """

    def __init__(self, api: StorageApi, bucket: str, prefix: str) -> None:
        """`prefix` is '' or a folder with the closing slash. Nothing is asked yet."""
        self._api = api
        self._bucket = bucket
        self._prefix = prefix
        self._listing = Listing(api, bucket)
        self._uploads = Uploads(api, bucket)
        self._lock = Lock()
        self._checked = False
        self._largest: int | None = None

    def __repr__(self) -> str:
        return f"SupabaseStore({self.url!r})"

    @property
    def url(self) -> str:
        """Where it is, for people. Never credentials."""
        return self._api.where

    def create_bucket(self, largest: int) -> None:
        """Make the bucket, private, for files of at most `largest` bytes, unless there is one; it
        must be private then. StoreError when the plan does not allow that size."""
        made = {
            "id": self._bucket,
            "name": self._bucket,
            "public": False,
            "file_size_limit": largest,
        }
        try:
            self._api.json("GET", f"/bucket/{self._bucket}", "looking at the bucket")
        except Refused as refused:
            if refused.reason != "no-bucket":
                raise
            try:
                self._api.json("POST", "/bucket", "making the bucket", made)
            except Refused as again:
                if again.reason == "too-large":
                    raise StoreError(
                        f"The project of {self.url} does not allow files of {largest} bytes. Set "
                        "CONVAULT_SUPABASE_FILE_LIMIT to what it allows, or raise its limit (in "
                        "the dashboard: Storage > Settings).",
                        store=self.url,
                    ) from None
                if again.reason != "duplicate":  # another `init` was faster
                    raise
        self._check_bucket()

    def put(self, key: str, data: bytes) -> bool:
        """Store `data`, create-only; True if this call wrote it. ObjectConflict when an object of
        another size is there."""
        return self._put(key, Payload(data))

    def put_file(self, key: str, file: BinaryIO) -> bool:
        """The same with the bytes of a file; memory is bounded."""
        return self._put(key, Payload(file))

    def _put(self, key: str, data: Payload) -> bool:
        check_key(key)
        self._check_bucket()
        if data.size < LOOK_FIRST_BYTES or self._size(key) is None:
            try:
                self._send(key, data, replace=False)
            except Refused as refused:
                if refused.reason != "duplicate":
                    raise
            else:
                return True
        there = self._there(key)
        if there != data.size:
            raise ObjectConflict(
                f"{self.url} already holds {key} with {there} bytes where {data.size} were to be "
                "stored. It is damaged or was not written by Convault: move it away and try again.",
                key=key,
            )
        return False

    def replace(self, key: str, data: bytes) -> None:
        """Store `data` in place of whatever object is there, all or nothing."""
        check_key(key)
        self._check_bucket()
        self._send(key, Payload(data), replace=True)

    def get(self, key: str) -> bytes:
        """The whole object. ObjectMissing."""
        for _ in range(_REREADS):
            try:
                return b"".join(self.stream(key))
            except _Replaced:
                continue
        return b"".join(self.stream(key))

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes [start, end) in pieces of at most 1 MiB. ObjectMissing; StoreError when the object
        is shorter than `end`, or becomes so. Missing and short objects are found at the call, not
        at the first piece."""
        size = self.head(key).size
        stop = size if end is None else end
        if not 0 <= start <= stop:
            raise ValueError(f"not a range of bytes: {start} to {stop}")
        if stop > size:
            raise self._short(key, stop, size)
        return self._pieces(key, start, stop)

    def head(self, key: str) -> ObjectInfo:
        """Size and time. ObjectMissing."""
        check_key(key)
        self._check_bucket()
        doing = f"looking at {key}"
        try:
            told = self._api.json("GET", f"/object/info/{self._path(key)}", doing)
        except Refused as refused:
            raise self._missing(key, refused) from None
        try:
            return info(key, told)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise self._api.strange(doing) from None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object under the folder `prefix`."""
        check_prefix(prefix)
        self._check_bucket()
        for found in self._listing.below(self._prefix + prefix):
            key = found.key.removeprefix(self._prefix)
            if is_key(key):
                yield found._replace(key=key)

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        check_key(key)
        self._check_bucket()
        names = {"prefixes": [self._prefix + key]}
        self._api.json("DELETE", f"/object/{self._bucket}", f"deleting {key}", names)

    def flush(self) -> None:
        """Nothing to do: the server answers a put when the object is on stable storage."""

    def _check_bucket(self) -> None:
        """Once, before anything else is asked: a wrong key gets no error but an empty listing, and
        from a public bucket everybody can read."""
        with self._lock:
            if self._checked:
                return
            told: Any = self._api.json("GET", f"/bucket/{self._bucket}", "looking at the bucket")
            if not isinstance(told, dict) or told.get("id") != self._bucket:
                raise self._api.strange("looking at the bucket")
            if told.get("public") is not False:
                raise ConfigurationError(
                    f"The bucket of {self.url} is public: whoever guesses a name can read the "
                    "backups. Make it private (in the dashboard: Storage, Edit bucket), and see "
                    "who may have read them.",
                    store=self.url,
                )
            self._largest = self._limit(told)
            self._checked = True

    def _limit(self, bucket: dict[str, Any]) -> int | None:
        """Bytes of a file, where the bucket has a limit beside the project's."""
        largest = bucket.get("file_size_limit")
        return largest if isinstance(largest, int) and largest > 0 else None

    def _send(self, key: str, data: Payload, *, replace: bool) -> None:
        doing = f"{'replacing' if replace else 'storing'} {key}"
        if self._largest is not None and data.size > self._largest:
            raise StoreError(
                f"{key} has {data.size} bytes, and the bucket of {self.url} takes files of at most "
                f"{self._largest}: {too_large()}",
                key=key,
            )
        self._uploads.send(
            self._prefix + key, data, doing, replace=replace, there=lambda: self._size(key)
        )

    def _size(self, key: str) -> int | None:
        try:
            return self.head(key).size
        except ObjectMissing:
            return None

    def _there(self, key: str) -> int:
        """Size of what kept us from creating `key`."""
        for seconds in LOOKS:
            time.sleep(seconds)
            size = self._size(key)
            if size is not None:
                return size
        raise StoreUnavailable(
            f"{self.url} refused {key} as being there, and then did not have it: somebody else "
            "writes or deletes there. Try again.",
            key=key,
        )

    def _pieces(self, key: str, start: int, stop: int) -> Iterator[bytes]:
        """A read that breaks goes on where it broke, as long as each brings something new."""
        position, broken, version = start, 0, ""
        while position < stop:
            try:
                with self._api.download(
                    f"/object/{self._path(key)}",
                    f"reading {key}",
                    {"Range": f"bytes={position}-{stop - 1}"},
                ) as (answer, body):
                    tag = answer.headers.get("ETag", "")
                    if version and tag != version:
                        raise _Replaced(
                            f"{key} in {self.url} was replaced while it was read. Try again.",
                            key=key,
                        )
                    version = tag
                    for piece in self._cut_out(key, answer, body, position, stop):
                        position += len(piece)
                        broken = 0
                        yield piece
            except Refused as refused:
                raise self._missing(key, refused) from None
            except _Replaced:
                raise
            except StoreUnavailable as error:
                broken += 1
                if broken > self._api.patience.retries:
                    raise
                time.sleep(self._api.pause(broken, error))

    def _cut_out(
        self, key: str, answer: httpx.Response, body: Iterator[bytes], start: int, stop: int
    ) -> Iterator[bytes]:
        """Bytes [start, stop) out of an answer that begins there (206) or at the object's begin
        (200: the server knows no ranges). What follows is not read."""
        offset = 0
        if answer.status_code == 206:
            told = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if told is None or int(told[1]) != start:
                raise StoreError(
                    f"While reading {key}, the store {self.url} gave other bytes than were asked "
                    "for.",
                    key=key,
                )
            offset = start
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise self._api.strange(f"reading {key}")
        for chunk in body:
            view = memoryview(chunk)[max(start - offset, 0) : stop - offset]
            for first in range(0, len(view), PIECE_BYTES):
                yield bytes(view[first : first + PIECE_BYTES])
            offset += len(chunk)
            if offset >= stop:
                return
        raise self._short(key, stop, offset)

    def _path(self, key: str) -> str:
        return object_path(self._bucket, self._prefix + key)

    def _missing(self, key: str, refused: Refused) -> StoreError:
        if refused.reason != "no-object":
            return refused
        return ObjectMissing(
            f"{self.url} does not hold {key}. If it was deleted, the backups that need it cannot "
            "be read.",
            key=key,
        )

    def _short(self, key: str, wanted: int, size: int) -> StoreError:
        return StoreError(
            f"{key} in {self.url} ends at byte {size}, before byte {wanted}: it was cut off.",
            key=key,
        )
