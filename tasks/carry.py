"""Carry a chunk through fetch, serialize, compress, upload: the unit of work."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import task

from convault.belonging import belonging
from convault.encryption import Encryptor
from convault.errors import ConvaultError
from convault.index import key_column
from convault.models import BackupOptions, Chunk, ChunkReceipt, Part, Range, StepSeconds
from convault.pieces import piece_bytes
from convault.repository import Repository
from convault.sources.base import Rows
from tasks.boundary import contained
from tasks.compress import compress
from tasks.fetch import RangeReader, fetch
from tasks.policy import POLICY, TAGS
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
    ) -> None:
        """`part_bytes`: plain bytes of a part at most."""
        self.rows = rows
        self.repository = repository
        self.options = options
        self.part_bytes = part_bytes
        self.piece_bytes = piece_bytes(part_bytes)
        self.tally = tally
        self.encryptor = encryptor
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Have every chunk end after the piece it is at."""
        self._stopped.set()

    def check(self) -> None:
        """ConvaultError after `stop`."""
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
@task(name="carry", task_run_name=NAME, tags=TAGS, retries=0, **POLICY)
@contained
def carry(chunk: Chunk, work: Work) -> ChunkReceipt:
    """Every row of the chunk's ranges into the store, one piece after the other."""
    return carried(chunk, work)


def carried(chunk: Chunk, work: Work) -> ChunkReceipt:
    """The same, for whichever task does it."""
    parts: list[Part] = []
    timed = _Stopwatch()
    carried = 0
    for number, range_ in enumerate(chunk.ranges, 1):
        parts += _carry_range(range_, work, timed)
        before, carried = carried, chunk.heap_bytes * number // len(chunk.ranges)
        work.tally.add("carry", range_, carried - before, "bytes")
    return ChunkReceipt(chunk.number, tuple(parts), timed.seconds())


def _carry_range(range_: Range, work: Work, timed: _Stopwatch) -> list[Part]:
    dataset = work.rows.dataset
    table = dataset.table(range_.table)
    columns, key = table.columns, key_column(table)
    belongs = belonging(dataset, range_.table)
    reader = RangeReader(work.rows, range_, work.piece_bytes)
    parts: list[Part] = []
    try:
        while not reader.finished:
            work.check()
            with timed("fetch"):
                rows = fetch(reader)
            if rows is None:
                break
            work.tally.add("fetch", range_, rows.content.num_rows, "rows")
            with timed("serialize"):
                documents = serialize(rows, columns, belongs, key, work.options, work.part_bytes)
            rows.release()
            for document in documents:
                with timed("compress"):
                    packed = compress(document, work.options, work.encryptor)
                document.release()
                work.tally.add("serialize", range_, packed.content.plain_bytes, "bytes")
                work.tally.add("compress", range_, len(packed.content.data), "bytes")
                with timed("upload"):
                    uploaded = upload(packed, work.repository, range_, len(parts))
                packed.release()
                work.tally.add_upload(uploaded)
                parts.append(uploaded.part)
    finally:
        reader.close()
    return parts
