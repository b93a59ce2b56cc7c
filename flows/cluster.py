"""Carry chunks on a Dask cluster (CONVAULT_TASK_RUNNER=dask), a few at a time.

A worker that is lost costs the chunk it was at: Dask gives that to another. Results are fetched as
they come, so that none lies on a worker for long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from convault.errors import ClusterUnavailable, ConfigurationError, ConvaultError
from convault.models import Chunk, Part
from convault.orders import order
from convault.settings import Settings
from convault.sources.base import Snapshot
from tasks.carry import Work
from tasks.carry_away import Delivered, carry_away
from tasks.load import Load

CONNECT = 20.0
"""seconds to reach the scheduler"""
DESERTED = 300.0
"""seconds without a worker, after which the run gives up"""
_LOOK = 0.01
"""seconds between two looks at what is done"""
_COUNT = 5.0
"""seconds between two looks at who is there"""


def carry_away_all(
    chunks: Sequence[Chunk], snapshot: Snapshot, work: Work, settings: Settings
) -> list[Part]:
    """The parts of all chunks, `convault_workers` of them at a time. When one fails, those that run
    end on their workers, the others never begin, and the first error is raised.
    ClusterUnavailable."""
    parts: list[Part] = []
    waiting = list(reversed(chunks))
    limit = settings.upload_limit
    # Nobody hears how much the others send: each has the same share.
    rate = None if limit is None else limit / settings.convault_workers
    running: dict[Any, Chunk] = {}
    with _runner(settings) as runner:
        staffed = _Staffed(runner.client)
        try:
            while waiting or running:
                while waiting and len(running) < settings.convault_workers:
                    chunk = waiting.pop()
                    running[_submit(runner, chunk, snapshot, work, rate)] = chunk
                done = [future for future in running if future.wrapped_future.done()]
                for future in done:
                    delivered = _result(future)
                    _take(running.pop(future), delivered, work)
                    parts += delivered.receipt.parts
                work.check()
                if not done:
                    staffed.check()
                    time.sleep(_LOOK)
        finally:
            if running:
                runner.client.cancel([future.wrapped_future for future in running])
    return parts


def _submit(runner: Any, chunk: Chunk, snapshot: Snapshot, work: Work, rate: float | None) -> Any:
    shared = snapshot.share(chunk.ranges)
    if shared is None:
        raise ConfigurationError("Only a snapshot can be read by several processes.")
    told = order(shared, work.repository, work.options, work.part_bytes, work.encryptor, rate)
    return runner.submit(carry_away, {"chunk": chunk, "order": Load(f"{chunk.number}", told)})


def _take(chunk: Chunk, delivered: Delivered, work: Work) -> None:
    """Add to the run's tally what a worker did."""
    receipt = delivered.receipt
    work.tally.add_seconds(receipt.seconds)
    for uploaded in delivered.uploads:
        part = uploaded.part
        work.tally.add("fetch", part.range, part.rows, "rows")
        work.tally.add("serialize", part.range, part.plain_bytes, "bytes")
        work.tally.add("compress", part.range, part.stored_bytes, "bytes")
        work.tally.add_upload(uploaded)
    work.tally.add("carry", chunk.ranges[-1], chunk.heap_bytes, "bytes")


def _result(future: Any) -> Delivered:
    from distributed import KilledWorker

    try:
        found: Delivered = future.result()
    except ConvaultError:
        raise
    except KilledWorker:
        raise ClusterUnavailable(
            "Several workers of the Dask cluster were lost over one chunk, and it is not given to "
            "another. See their logs; too little memory is the usual cause (some 500 MB for each "
            "thread of a worker), and CONVAULT_PART_BYTES and CONVAULT_CHUNK_BYTES make less of it."
        ) from None
    except Exception as error:  # noqa: BLE001  whatever it is, it is the cluster's
        raise ClusterUnavailable(
            f"The Dask cluster did not carry a chunk ({type(error).__name__}). See whether its "
            "scheduler runs, and whether its workers have the checkout and the packages of this "
            "machine, in the same versions."
        ) from None
    return found


class _Staffed:
    """Whether anybody is there to carry."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._seen = self._looked = time.monotonic()
        if not self._workers():
            raise ClusterUnavailable(
                "The Dask cluster of CONVAULT_DASK_ADDRESS has no worker: start one "
                "(`dask worker ADDRESS`) in the environment of this checkout."
            )

    def check(self) -> None:
        """ClusterUnavailable when nobody was there for five minutes."""
        now = time.monotonic()
        if now - self._looked < _COUNT:
            return
        self._looked = now
        if self._workers():
            self._seen = now
        elif now - self._seen > DESERTED:
            raise ClusterUnavailable(
                f"The Dask cluster has had no worker for {DESERTED:g} s. Start some, and back up "
                "again."
            )

    def _workers(self) -> int:
        try:
            return len(self._client.ncores())
        except (OSError, TimeoutError):
            return 0


@contextmanager
def _runner(settings: Settings) -> Iterator[Any]:
    # Here, because it belongs to the extra `dask`.
    from prefect_dask.task_runners import DaskTaskRunner

    made = DaskTaskRunner(
        address=settings.convault_dask_address, client_kwargs={"timeout": CONNECT}
    )
    with made as runner:
        try:
            _ = runner.client
        except (OSError, TimeoutError) as error:
            raise ClusterUnavailable(
                f"The Dask cluster cannot be reached ({type(error).__name__}). Check that its "
                "scheduler runs and that CONVAULT_DASK_ADDRESS is its address."
            ) from None
        yield runner
