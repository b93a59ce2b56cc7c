"""age on files that are larger than memory, through pyrage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import pyrage
from pyrage import x25519

from convault.encryption.age import BadBody, BadHeader, Identity, NoMatch, check_header

_HEAD_BYTES = 64 * 1024
"""in which the header of an age file ends"""


class Sink(Protocol):
    """Where bytes are written."""

    def write(self, data: bytes, /) -> int:
        """All of them."""

    def flush(self) -> None:
        """Let the operating system have them."""


class _Reader:
    """Pieces as a file. pyrage turns what a reader raises into an error of its own, so it is kept
    here."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            while not self._held:
                self._held = memoryview(next(self._pieces, b""))
                if not self._held:
                    return b""
        except BaseException as error:
            self.error = error
            raise
        end = len(self._held) if size < 0 else size
        taken, self._held = self._held[:end], self._held[end:]
        return bytes(taken)


class _Writer:
    """A file, and what it raised."""

    def __init__(self, file: Sink) -> None:
        self._file = file
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def encrypt(pieces: Iterable[bytes], file: Sink, recipients: Sequence[str]) -> None:
    """Write `pieces` into `file`, for each of the recipients. Raises what the pieces raise, and
    OSError of the file. Different bytes every time."""
    reader, writer = _Reader(pieces), _Writer(file)
    try:
        pyrage.encrypt_io(reader, writer, [x25519.Recipient.from_str(key) for key in recipients])
    except (pyrage.EncryptError, OSError):
        _raise_own(reader, writer)
        raise


def decrypt(pieces: Iterable[bytes], file: Sink, identities: Sequence[Identity]) -> None:
    """Write into `file` what was encrypted to one of the identities; on an error what was written
    means nothing. NoMatch, BadHeader, BadBody; what the pieces raise, and OSError of the file."""
    head, rest = b"", iter(pieces)
    while len(head) < _HEAD_BYTES and (piece := next(rest, b"")):
        head += piece
    check_header(head)
    reader, writer = _Reader(_chained(head, rest)), _Writer(file)
    try:
        pyrage.decrypt_io(reader, writer, [identity.secret for identity in identities])
    except pyrage.DecryptError as error:
        _raise_own(reader, writer)
        if str(error) == "No matching keys found":
            raise NoMatch from None
        raise BadHeader from None
    except OSError:
        _raise_own(reader, writer)
        raise BadBody from None


def _chained(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _raise_own(reader: _Reader, writer: _Writer) -> None:
    for error in (reader.error, writer.error):
        if error is not None:
            raise error from None
