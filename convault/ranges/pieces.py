"""The rows of a range, a bounded piece at a time: what one part, or some, are made of."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pyarrow as pa

from convault.models import Range
from convault.sources.base import Rows


def piece_bytes(part_bytes: int) -> int:
    """Arrow bytes until which rows are fetched, for parts of at most `part_bytes` plain: three
    quarters of that. Written as JSON they grow somewhat, and of ranges of the default size most
    then make one piece and one part, with as few task runs as can be."""
    return max(1, part_bytes * 3 // 4)


class RangeReader:
    """The rows of one range, handed over piece by piece. Used by one thread at a time.

    After an error it goes on where it was: what was not handed over is read again, in the same
    snapshot and the same order.
    """

    def __init__(self, snapshot: Rows, range_: Range, piece_bytes: int) -> None:
        """A piece is filled until it holds `piece_bytes` of Arrow data."""
        self.range = range_
        self.finished = False
        """whether every row was handed over"""
        self._snapshot = snapshot
        self._piece_bytes = piece_bytes
        self._stream: Iterator[pa.RecordBatch] | None = None
        self._ahead: pa.RecordBatch | None = None
        self._rows = 0
        self._pieces = 0

    def __str__(self) -> str:
        return f"{self.range} #{self._pieces}"

    def next_piece(self) -> pa.Table | None:
        """The next rows, or None when there are none left."""
        try:
            if self._stream is None:
                self._stream = self._snapshot.read(self.range, skip_rows=self._rows)
                self._ahead = next(self._stream, None)
            batches = []
            size = 0
            while self._ahead is not None and size < self._piece_bytes:
                batches.append(self._ahead)
                size += self._ahead.nbytes
                self._ahead = next(self._stream, None)
        except BaseException:
            self.close()
            raise
        self.finished = self._ahead is None
        piece = pa.Table.from_batches(batches) if batches else None
        self._rows += 0 if piece is None else piece.num_rows
        self._pieces += 1
        if self.finished:
            self.close()
        return piece

    def close(self) -> None:
        """Let the connection go; `next_piece` opens another."""
        stream, self._stream, self._ahead = self._stream, None, None
        if isinstance(stream, Generator):
            stream.close()
