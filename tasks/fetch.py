"""Fetch rows of a chunk's ranges, a bounded batch at a time."""

from __future__ import annotations

from prefect import task

from convault.carrying import BatchReader, Piece
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="fetch", task_run_name="fetch {reader}", retries=4, **POLICY)
@contained
def fetch(reader: BatchReader) -> Load[list[Piece]]:
    """The reader's next rows, none when there are no more."""
    subject = str(reader)
    return Load(subject, reader.next_batch())
