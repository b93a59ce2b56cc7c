"""Carry chunks, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from convault.models import Chunk, ChunkReceipt, Part, RangeKey
from convault.ranges import ranges
from convault.sources.base import Snapshot
from tasks.carry import Work, carry
from tasks.chunk import bytes_of

CHUNK_BYTES = 1 << 26
"""of late rows in one chunk, estimated"""


def carry_all(chunks: Sequence[Chunk], work: Work, workers: int) -> list[Part]:
    """The parts of all chunks, carried by `workers` threads.

    When one fails, those that run end after the piece they are at, the others never begin, and the
    first error is raised.
    """
    parts: list[Part] = []
    runner: Any  # the overloads of ThreadPoolTaskRunner.submit do not see a task that is sync
    with ThreadPoolTaskRunner(max_workers=workers) as runner:
        try:
            futures: list[PrefectFuture[ChunkReceipt]] = [
                runner.submit(carry, {"chunk": chunk, "work": work}) for chunk in chunks
            ]
            for future in as_completed(futures):
                receipt = future.result()
                work.tally.add_seconds(receipt.seconds)
                parts += receipt.parts
        except BaseException:
            work.stop()
            raise
    return parts


def carry_late(snapshot: Snapshot, work: Work, workers: int) -> tuple[list[Part], list[RangeKey]]:
    """The parts of what a source without a snapshot finds missing when all was read, and the ranges
    that they are of; nothing where there is a snapshot."""
    parts: list[Part] = []
    keys: list[RangeKey] = []
    while late := snapshot.late():
        reason = (
            "rows that were fetched by key after the pages"
            if snapshot.selection is None
            else "only some of its rows were selected"
        )
        keys += [RangeKey(range_, reason=reason) for range_ in late]
        tables = {table.name: table for table in snapshot.dataset.tables}
        sized = [(r, bytes_of(r, tables[r.table], snapshot)) for r in late]
        parts += carry_all(ranges.pack(sized, CHUNK_BYTES), work, workers)
    return parts, keys
