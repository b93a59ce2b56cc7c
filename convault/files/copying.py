"""Files from Storage into the repository: streamed, a few at a time, each with its outcome."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import BinaryIO

from convault.encryption import age_streams
from convault.encryption.objects import Digest, Encryptor
from convault.files.addresses import Address
from convault.files.entries import FileEntry, Outcome
from convault.files.held import Held, is_there
from convault.files.storage import CutShort, FileStorage, RemoteFile
from convault.layout import file_key
from convault.repository import Repository, Stored
from convault.stores.failures import translated

_TOGETHER = 1000
"""files that wait for their turn at a time: each costs some memory"""
READS = 3
"""how often a file that changes while it is read is read"""


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one file, and what it cost."""

    entry: FileEntry
    """without its referrers"""
    new_bytes: int = 0
    """written to the store"""
    read: bool = False
    """or it was held already, or not there"""


class Copier:
    """Copies files of one backup. What it has done it remembers: a call that is made again after an
    error goes on where the one before was."""

    def __init__(
        self, storage: FileStorage, repository: Repository, held: Held,
        encryptor: Encryptor | None = None,
    ) -> None:  # fmt: skip
        self.done: dict[Address, Copied] = {}
        self.held = held
        self._storage = storage
        self._repository = repository
        self._encryptor = encryptor
        self._lock = Lock()
        self._known: dict[str, Future[FileEntry]] = {}
        """what is stored in this run, or being stored, by its plain digest"""

    def copy_all(
        self, addresses: list[Address], workers: int, tell: Callable[[Copied], None]
    ) -> dict[Address, Copied]:
        """Copy these files, so many at a time; `tell` is called for each as it is done. The first
        error ends it. FilesError, FilesUnavailable, StoreError."""
        left = [address for address in addresses if address not in self.done]
        with ThreadPoolExecutor(workers, thread_name_prefix="files") as pool:
            for first in range(0, len(left), _TOGETHER):
                futures = {
                    pool.submit(self.copy, address): address
                    for address in left[first : first + _TOGETHER]
                }
                try:
                    for future in as_completed(futures):
                        self.done[futures[future]] = future.result()
                        tell(future.result())
                except BaseException:
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
        return {address: self.done[address] for address in addresses}

    def copy(self, address: Address) -> Copied:
        """Copy one file."""
        for _ in range(READS):
            before = self._storage.look(address)
            if before is None:
                return Copied(_without_object("missing", address))
            recipients = None if self._encryptor is None else self._encryptor.recipients
            held = self.held.same(address, before, recipients)
            if held is not None and is_there(self._repository, held):
                return Copied(held.model_copy(update={"referrers": ()}))
            with translated("keeping a file", tempfile.gettempdir()), _spool() as spool:
                taken = self._take(address, before, spool)
                # None: it was cut short, or is gone; asked again, that is told.
                if taken is None or self._storage.look(address) != before:
                    continue
                stored, new = self._store(spool, taken, before)
                told = _described(address, before)
                return Copied(stored.model_copy(update=told), new, read=True)
        return Copied(_without_object("changed", address))

    def _take(self, address: Address, remote: RemoteFile, spool: BinaryIO) -> _Taken | None:
        """The file into the spool, as it will be stored."""

        def take(pieces: Iterator[bytes]) -> _Taken:
            spool.seek(0)
            spool.truncate()
            if self._encryptor is None:
                taken = _Taken(sha256())
                for piece in taken.watched(pieces):
                    spool.write(piece)
                return taken
            taken = _Taken(self._encryptor.hasher())
            age_streams.encrypt(taken.watched(pieces), spool, self._encryptor.recipients)
            return taken

        try:
            return self._storage.read(address, remote.size, take)
        except CutShort:
            return None

    def _store(self, spool: BinaryIO, taken: _Taken, remote: RemoteFile) -> tuple[FileEntry, int]:
        """The entry of the file's object, and the bytes that were written. The same file is stored
        once, whatever its names."""
        plain = taken.digest.hexdigest()
        with self._lock:
            known = self._known.get(plain)
            mine: Future[FileEntry] = Future()
            if known is None:
                self._known[plain] = mine
        if known is not None:
            return known.result(), 0
        try:
            entry, stored = self._put(spool, plain, remote.size)
        except BaseException as error:
            with self._lock:
                del self._known[plain]
            mine.set_exception(error)
            raise
        mine.set_result(entry)
        return entry, 0 if stored is Stored.FOUND else entry.stored_bytes

    def _put(self, spool: BinaryIO, plain: str, size: int) -> tuple[FileEntry, Stored]:
        encrypted = self._encryptor is not None
        digest, length = plain, size
        if encrypted:
            digest, length = _digest(spool)
        stored = self._repository.put_file(digest, spool, encrypted=encrypted)
        entry = FileEntry(
            outcome="stored",
            key=file_key(digest, encrypted=encrypted),
            sha256=digest,
            stored_bytes=length,
            plain_sha256=plain,
            plain_bytes=size,
            digest_key=None if self._encryptor is None else self._encryptor.digest_key.id,
        )
        return entry, stored


class _Taken:
    """The plain bytes of a file that went by."""

    def __init__(self, digest: Digest) -> None:
        self.digest = digest

    def watched(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.digest.update(piece)
            yield piece


def _spool() -> BinaryIO:
    """A file without a name: nothing is left of it when the process ends, however it does."""
    return tempfile.TemporaryFile()


def _without_object(outcome: Outcome, address: Address) -> FileEntry:
    return FileEntry(outcome=outcome, bucket=address.bucket, path=address.path)


def _digest(spool: BinaryIO) -> tuple[str, int]:
    found, size = sha256(), 0
    spool.seek(0)
    while piece := spool.read(1024 * 1024):
        found.update(piece)
        size += len(piece)
    return found.hexdigest(), size


def _described(address: Address, remote: RemoteFile) -> dict[str, object]:
    return {
        "bucket": address.bucket,
        "path": address.path,
        "content_type": remote.content_type,
        "cache_control": remote.cache_control,
        "etag": remote.etag,
        "modified": remote.modified,
        "version": remote.version,
        "metadata": dict(remote.metadata),
    }
