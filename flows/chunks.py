"""Carry chunks, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner

from convault.models import Chunk, ChunkReceipt, Part
from tasks.carry import Work, carry


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
