"""zstandard, in complete frames that follow one another: any zstd tool reads them as one stream.

Level 0 stores the bytes as they are, under a name without `.zst`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import pyarrow as pa
import zstandard

from convault.errors import IntegrityError
from convault.formats.base import Document, Frame

READ_BYTES = 1024 * 1024
"""plain bytes that `decompressed` hands over at a time, at most"""

_COMPRESSED = ".zst"


def suffix(plain: str, level: int) -> str:
    """How a name ends that ended in `plain` before compression, such as `.ndjson.zst`."""
    return plain + (_COMPRESSED if level else "")


def compressed(document: Document, level: int) -> Document:
    """Each frame of the document as a zstd frame, with its content's size and checksum; the same
    bytes for the same data, level and library. Level 0 gives the document as it is."""
    if not level:
        return document
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    if not document.data:  # zstd tools want a frame, even for nothing
        empty = compressor.compress(b"")
        return Document(empty, document.rows, (Frame(0, len(empty), 0),))
    view = memoryview(document.data)
    # All in one call: each would give up Python's lock and have to get it back from the others.
    made = compressor.multi_compress_to_buffer(
        [view[f.offset : f.offset + f.length] for f in document.frames], threads=1
    )
    pieces: list[Any] = [made[number] for number in range(len(made))]
    starts = accumulate(map(len, pieces), initial=0)
    frames = tuple(
        Frame(start, len(piece), frame.rows)
        for start, piece, frame in zip(starts, pieces, document.frames, strict=False)
    )
    return Document(b"".join(pieces), document.rows, frames)


def decompressed(pieces: Iterable[bytes], *, name: str, plain_bytes: int) -> Iterator[bytes]:
    """The plain bytes of an object, in pieces of at most READ_BYTES; `name` (a key or a member of
    the tar) says by its end whether it is compressed.

    IntegrityError when it is not zstd, is cut off, or does not hold exactly `plain_bytes`: of a
    bomb no more than that is ever made.
    """
    reader = _reader(pieces, compressed=name.endswith(_COMPRESSED))
    left = plain_bytes
    while piece := _read(reader, min(READ_BYTES, left + 1), name):
        left -= len(piece)
        if left < 0:
            raise IntegrityError(
                f"{name} is damaged: it holds more than the {plain_bytes} bytes that it should.",
                key=name,
            )
        yield piece
    if left:
        raise IntegrityError(
            f"{name} is damaged: {left} of its {plain_bytes} bytes are missing.", key=name
        )


def frames(pieces: Iterable[bytes], *, name: str, most: int) -> Iterator[bytes]:
    """As `decompressed`, of some frames of an object, which together make `most` bytes at most."""
    reader = _reader(pieces, compressed=name.endswith(_COMPRESSED))
    left = most
    while piece := _read(reader, READ_BYTES, name):
        left -= len(piece)
        if left < 0:
            raise IntegrityError(f"{name} is damaged: its frames hold too much.", key=name)
        yield piece


def _reader(pieces: Iterable[bytes], *, compressed: bool) -> io.BufferedIOBase | pa.NativeFile:
    plain = io.BufferedReader(_Pieces(pieces))
    if not compressed:
        return plain
    # Arrow's reader, because that of `zstandard` takes a frame that is cut off for its end.
    return pa.CompressedInputStream(pa.PythonFile(plain, mode="r"), "zstd")


def _read(reader: io.BufferedIOBase | pa.NativeFile, size: int, name: str) -> bytes:
    try:
        return reader.read(size)
    except OSError:
        raise IntegrityError(
            f"{name} is damaged: it is cut off, or it is not zstd.", key=name
        ) from None


class _Pieces(io.RawIOBase):
    """An iterable of bytes as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
