"""The protocol of a store: a place that keeps immutable objects under ASCII keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable


class ObjectInfo(NamedTuple):
    """What a store tells of an object without reading it."""

    key: str
    size: int
    """bytes"""
    modified: datetime


@runtime_checkable
class Store(Protocol):
    """Where bytes live.

    Contract, kept by every implementation and checked by `tests/stores/suite.py`:

    - Keys are relative, `/`-separated, ASCII; a key with `..`, an empty segment or a control
      character is a ValueError.
    - `put` and `put_file` are atomic and create-only. They may be called twice with the same bytes:
      an object that is already there counts as stored if its size agrees, and is an ObjectConflict
      otherwise. After an error the object may or may not be there.
    - `replace` is atomic too: whoever reads `key` finds the old bytes or the new ones, never none
      and never some, and a kill leaves the one or the other. It may be called for an absent object,
      and twice; of two at once either may be last. After an error the old or the new bytes are
      there. It is for putting damage right: nothing else may change an object.
    - `get`, `stream`, `head`, `list` may be called any number of times, from any thread.
    - `delete` of an absent object is no error.
    - StoreUnavailable is the only transient error; ObjectMissing says a key is not there; any other
      StoreError will not go away by itself.
    - Nothing that was `put` is safe from a power cut before `flush` returned.
    """

    @property
    def url(self) -> str:
        """Where it is, for people. Never credentials."""

    def put(self, key: str, data: bytes) -> bool:
        """Store `data` under `key`; True if this call wrote it, False if it was already there."""

    def put_file(self, key: str, file: BinaryIO) -> bool:
        """As `put`, with the bytes of a file that may be larger than memory: all of it, from its
        beginning. It must be seekable, and its place is moved."""

    def replace(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, whatever is there."""

    def get(self, key: str) -> bytes:
        """The whole object. ObjectMissing."""

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes [start, end) in pieces of at most a few MiB. ObjectMissing; StoreError when the
        object ends before `end` (a short read is never silent)."""

    def head(self, key: str) -> ObjectInfo:
        """Size and time. ObjectMissing."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with the folder `prefix` ('' or 'a/b/'), in any order,
        to the end: an incomplete listing is an error, never a shorter answer."""

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""

    def flush(self) -> None:
        """Return when everything that this object `put` is on stable storage."""
