"""Fetch rows of a range, a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pyarrow as pa
from prefect import task

from convault.models import Range
from convault.sources.base import Snapshot
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


class RangeReader:
    """The rows of one range, handed over piece by piece. Used by one thread at a time.

    After an error it goes on where it was: what was not handed over is read again, in the same
    snapshot and the same order.
    """

    def __init__(self, snapshot: Snapshot, range_: Range, piece_bytes: int) -> None:
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


@task(name="fetch", task_run_name="fetch {reader}", retries=4, **POLICY)
@contained
def fetch(reader: RangeReader) -> Load[pa.Table] | None:
    """The reader's next piece, or None when the range has no more rows."""
    subject = str(reader)
    piece = reader.next_piece()
    return None if piece is None else Load(subject, piece)
