"""What Polars writes into a file, in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO, cast


def written(write: Callable[[IO[bytes]], object]) -> bytes:
    """What `write` writes into the file that it is handed. Piece by piece as it came: `BytesIO`
    would copy it; and Polars, unlike when it returns a text, lets other threads run meanwhile."""
    kept = _Kept()
    write(cast(IO[bytes], kept))
    return kept.pieces[0] if len(kept.pieces) == 1 else b"".join(kept.pieces)


class _Kept(io.RawIOBase):
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]
        self.pieces.append(bytes(piece))  # of bytes no copy, and of a borrowed buffer one
        return len(piece)
