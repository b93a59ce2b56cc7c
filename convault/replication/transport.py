"""Objects on their way from one store to another: proven when they leave, and when they arrive."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import BinaryIO
from uuid import UUID

from convault.errors import (
    CopyError,
    IntegrityError,
    NotFoundError,
    ObjectMissing,
    RepositoryError,
)
from convault.loading import read_attempts
from convault.manifest import Manifest
from convault.repository import Repository, Stored
from convault.stores.base import Store

IN_MEMORY = 32 * 1024 * 1024
"""bytes; what is larger goes by way of a temporary file"""


@dataclass(frozen=True, slots=True)
class Brought:
    """What it took to have the objects of a backup in the copy."""

    objects: int = 0
    """that travelled"""
    bytes: int = 0
    repaired: int = 0
    """of them, those whose bytes in the copy were damaged"""

    def __add__(self, other: Brought) -> Brought:
        return Brought(
            self.objects + other.objects,
            self.bytes + other.bytes,
            self.repaired + other.repaired,
        )


class Proven:
    """Keys that were proven when they arrived: those that a manifest of the copy names, because
    manifests come last. Manifests are read as they are needed: a backup shares most of its objects
    with the one before it."""

    def __init__(self, copy: Repository, backups: Iterable[UUID]) -> None:
        """`backups`: those of the copy, the likeliest to be asked about first."""
        self._copy = copy
        self._unread = iter(tuple(backups))
        self._keys: dict[str, str] = {}
        self._lock = Lock()

    def has(self, key: str, digest: str) -> bool:
        """Whether the object of that digest was proven."""
        with self._lock:
            while key not in self._keys:
                manifest = self._next()
                if manifest is None:
                    return False
                self._keys.update(manifest.digests())
            return self._keys[key] == digest

    def add(self, key: str, digest: str) -> None:
        """It was proven just now."""
        with self._lock:
            self._keys[key] = digest

    def _next(self) -> Manifest | None:
        for backup_id in self._unread:
            try:
                return self._copy.manifest(backup_id)
            except (NotFoundError, RepositoryError):
                continue  # what it names is proven again
        return None


class Transport:
    """From `source` into `copy`. What is there already and was proven does not travel."""

    def __init__(
        self, source: Store, copy: Repository, proven: Proven, listed: Mapping[str, int],
        workers: int,
    ) -> None:  # fmt: skip
        """`listed`: the sizes of the copy's objects by key, as they were seen in this run."""
        self._source = source
        self._copy = copy
        self._proven = proven
        self._listed = listed
        self._workers = workers

    def bring(self, objects: Mapping[str, tuple[int, str]]) -> Brought:
        """Have objects (size and SHA-256 by key) in the copy, each with its digest. IntegrityError
        names one that is damaged or missing in the source: nothing of it is stored, and the copy's
        stays as it is. CopyError, StoreError."""
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="copy")
        with pool:
            futures = [pool.submit(self._bring, key, *about) for key, about in objects.items()]
            try:
                return sum((future.result() for future in futures), Brought())
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _bring(self, key: str, size: int, digest: str) -> Brought:
        # Of another size, it was proven and then damaged.
        if self._listed.get(key) == size and self._is_proven(key, size, digest):
            return Brought()
        stored = self._carry(key, size, digest)
        # A store that says that it has the bytes may still have others.
        if not _is_sound(self._copy.store, key, size, digest):
            raise CopyError(
                f"{key} was stored in {self._copy.store.url}, and has other bytes there. See "
                "whether that place is sound, and copy again.",
                key=key,
            )
        self._proven.add(key, digest)
        if stored is Stored.FOUND:
            return Brought()
        return Brought(1, size, int(stored is Stored.REPAIRED))

    def _is_proven(self, key: str, size: int, digest: str) -> bool:
        if self._proven.has(key, digest):
            return True
        if not _is_sound(self._copy.store, key, size, digest):
            return False
        self._proven.add(key, digest)
        return True

    def _carry(self, key: str, size: int, digest: str) -> Stored:
        if size <= IN_MEMORY:
            pieces: list[bytes] = []
            self._read(key, size, digest, pieces)
            return self._copy.put_part(key, digest, b"".join(pieces))
        with tempfile.TemporaryFile() as file:
            self._read(key, size, digest, file)
            return self._copy.put_large(key, digest, file)

    def _read(self, key: str, size: int, digest: str, into: list[bytes] | BinaryIO) -> None:
        def read() -> str:
            found, count = sha256(), 0
            if isinstance(into, list):
                into.clear()
            else:
                into.seek(0)
                into.truncate()
            for piece in self._source.stream(key):
                count += len(piece)
                if count > size:
                    break
                found.update(piece)
                into.append(piece) if isinstance(into, list) else into.write(piece)
            return found.hexdigest() if count == size else ""

        try:
            found = read_attempts()(read)
        except ObjectMissing:
            raise _damaged(self._source, key, "is missing") from None
        if found != digest:
            raise _damaged(self._source, key, "does not have the bytes that its manifest names")


def _damaged(store: Store, key: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"{key} {what} in {store.url}, so the backups that need it are not copied; what the copy "
        "holds stays. `convault verify` tells what can be put back.",
        key=key,
    )


def _is_sound(store: Store, key: str, size: int, digest: str) -> bool:
    def read() -> bool:
        found, count = sha256(), 0
        for piece in store.stream(key):
            found.update(piece)
            count += len(piece)
            if count > size:
                return False
        return found.hexdigest() == digest

    try:
        return read_attempts()(read)
    except ObjectMissing:
        return False


def objects_of(manifest: Manifest) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of everything that a backup needs beside its manifest, by key."""
    sizes, digests = manifest.objects(), manifest.digests()
    return {key: (size, digests[key]) for key, size in sizes.items()}
