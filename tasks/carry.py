"""Carry a chunk through fetch, serialize, compress, upload: the unit of work."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import task

from convault.carrying import BatchReader, Outgoing
from convault.deadline import Deadline
from convault.encryption.objects import Encryptor
from convault.errors import ConvaultError
from convault.models import BackupOptions, Chunk, ChunkReceipt, Part, StepSeconds
from convault.repository import Repository
from convault.sources.base import Rows
from tasks.boundary import contained
from tasks.compress import compress
from tasks.fetch import fetch
from tasks.load import Load
from tasks.policy import POLICY
from tasks.serialize import serialize
from tasks.tally import Tally
from tasks.upload import upload

NAME = "chunk {chunk.number} from {chunk.ranges[0]}"


class Work:
    """What all chunks of one snapshot have in common."""

    def __init__(
        self,
        rows: Rows,
        repository: Repository,
        options: BackupOptions,
        part_bytes: int,
        tally: Tally,
        encryptor: Encryptor | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        """`part_bytes`: plain bytes of a part at most."""
        self.rows = rows
        self.repository = repository
        self.options = options
        self.part_bytes = part_bytes
        self.tally = tally
        self.encryptor = encryptor
        self._deadline = deadline
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Have every chunk end after the piece it is at."""
        self._stopped.set()

    def check(self) -> None:
        """ConvaultError after `stop`; RunTooLong when the run has taken too long."""
        if self._deadline is not None:
            self._deadline.check()
        if self._stopped.is_set():
            raise ConvaultError("Stopped, because the run is ending: see what failed before.")


class _Stopwatch:
    """Wall seconds of a chunk by step."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._spent[step] += time.monotonic() - started

    def seconds(self) -> StepSeconds:
        return StepSeconds(**self._spent)


# No retries: each step has its own, and retries within retries multiply.
@task(name="carry", task_run_name=NAME, retries=0, **POLICY)
@contained
def carry(chunk: Chunk, work: Work) -> ChunkReceipt:
    """Every row of the chunk's ranges into the store, one batch after the other."""
    return carried(chunk, work)


def carried(chunk: Chunk, work: Work) -> ChunkReceipt:
    """The same, for whichever task does it."""
    parts: list[Part] = []
    timed = _Stopwatch()
    heap = dict(zip(chunk.ranges, _shares(chunk), strict=True))
    dataset = Load("dataset", work.rows.dataset)
    reader = BatchReader(work.rows, chunk.ranges, work.part_bytes)
    outgoing = Outgoing(work.repository)
    try:
        while not reader.finished:
            work.check()
            with timed("fetch"):
                batch = fetch(reader)
            if not batch.content:
                break
            for range_, rows in batch.content:
                work.tally.add("fetch", range_, rows.num_rows, "rows")
            with timed("serialize"):
                documents = serialize(batch, dataset, work.options, work.part_bytes)
            batch.release()
            with timed("compress"):
                packed = compress(documents, work.options, work.encryptor)
            documents.release()
            for part in packed.content:
                work.tally.add("serialize", part.range, part.plain_bytes, "bytes")
                work.tally.add("compress", part.range, len(part.data), "bytes")
            outgoing.add(packed.content)
            packed.release()
            with timed("upload"):
                uploaded = upload(Load(str(packed), outgoing))
            for receipt in uploaded:
                work.tally.add_upload(receipt)
                parts.append(receipt.part)
                share = heap.pop(receipt.part.range, 0)
                work.tally.add("carry", receipt.part.range, share, "bytes")
    finally:
        reader.close()
    for range_, share in heap.items():  # in which no row was visible
        work.tally.add("carry", range_, share, "bytes")
    return ChunkReceipt(chunk.number, tuple(parts), timed.seconds())


def _shares(chunk: Chunk) -> Iterator[int]:
    """Of the chunk's bytes for each of its ranges."""
    for number in range(len(chunk.ranges)):
        before = chunk.heap_bytes * number // len(chunk.ranges)
        yield chunk.heap_bytes * (number + 1) // len(chunk.ranges) - before
