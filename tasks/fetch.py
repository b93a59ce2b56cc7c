"""Fetch rows of a range, a bounded piece at a time."""

from __future__ import annotations

import pyarrow as pa
from prefect import task

from convault.pieces import RangeReader as RangeReader
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="fetch", task_run_name="fetch {reader}", retries=4, **POLICY)
@contained
def fetch(reader: RangeReader) -> Load[pa.Table] | None:
    """The reader's next piece, or None when the range has no more rows."""
    subject = str(reader)
    piece = reader.next_piece()
    return None if piece is None else Load(subject, piece)
