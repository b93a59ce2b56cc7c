"""Carry a chunk in another process, on a Dask worker: an order goes there, receipts come back."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import task

from convault.carrying import Uploaded
from convault.models import Chunk, ChunkReceipt
from convault.orders import Order, place
from convault.settings import load_settings
from tasks.boundary import contained
from tasks.carry import NAME, Work, carried
from tasks.load import Load
from tasks.policy import POLICY
from tasks.tally import Tally


@dataclass(frozen=True, slots=True)
class Delivered:
    """What comes back: no row, and no byte of a part."""

    receipt: ChunkReceipt
    uploads: tuple[Uploaded, ...]
    """of the same parts: which of them were written"""


class _Recorded(Tally):
    """The run's tally is in another process: this one is told to it."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads: list[Uploaded] = []

    def add_upload(self, uploaded: Uploaded) -> None:
        self.uploads.append(uploaded)


# No retries: a worker that dies is none of the task's, and each step has its own.
@task(name="carry", task_run_name=NAME, retries=0, **POLICY)
@contained
def carry_away(chunk: Chunk, order: Load[Order]) -> Delivered:
    """Every row of the chunk's ranges into the store, by this process's own settings. May be done
    again from the beginning: the same parts are found there."""
    told, tally = order.content, _Recorded()
    with place(told, load_settings()) as here:
        work = Work(
            here.rows, here.repository, told.options, told.part_bytes, tally, here.encryptor
        )
        receipt = carried(chunk, work)
    return Delivered(receipt, tuple(tally.uploads))
