"""What is to be stored: bytes in memory, or a file that is too large to be."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_SLICE_BYTES = 256 * 1024
"""handed to a socket at a time: httpcore copies the rest of a piece each time some of it went"""


class Payload:
    """Bytes that can be read from their beginning as often as a store has to try again."""

    def __init__(self, source: bytes | BinaryIO) -> None:
        """A file must be seekable, and nobody else's while it is stored; its place moves."""
        self._source = source
        if isinstance(source, bytes):
            self.size = len(source)
        else:
            self.size = source.seek(0, os.SEEK_END)
        """bytes"""

    def open(self) -> BinaryIO:
        """The bytes as a file, at its beginning. Of several calls only the last one's counts."""
        if isinstance(self._source, bytes):
            return io.BytesIO(self._source)
        self._source.seek(0)
        return self._source

    def whole(self) -> bytes:
        """All of them at once: for what is known to be small."""
        return self._source if isinstance(self._source, bytes) else self.open().read()

    def slices(self) -> Iterator[bytes]:
        """All of them, a little at a time."""
        file = self.open()
        while piece := file.read(_SLICE_BYTES):
            yield piece

    def copy_to(self, path: Path) -> None:
        """Into a new file of mode 0600. FileExistsError, OSError."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(self.open(), file, _SLICE_BYTES)
