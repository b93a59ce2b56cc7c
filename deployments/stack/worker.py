"""The worker of a stack, as a process: `python -m deployments.stack.worker NAME`.

A process worker of Prefect's that starts a run directly, in the folder that it was started in, and
takes no run that somebody asked for while a scheduled one of the same deployment waits. It ends
when its stdin does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import tasks  # noqa: F401  sets what Prefect must find in the environment when it is imported
from convault.lifeline import end_with_stdin

# isort: split
import psutil
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from deployments.queues import MANUAL
from deployments.workers import POOL

if TYPE_CHECKING:
    from anyio.abc import TaskStatus
    from prefect.client.schemas.responses import WorkerFlowRunResponse

WAITING = ("Late", "AwaitingConcurrencySlot")
PATIENCE = 50.0
"""seconds that runs may take to stop, a commit included; the stack waits ten more"""


class Worker(ProcessWorker):
    """Of the work pool that prefect.yaml names."""

    takes_no_more = False

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Not its type, by which Prefect's own worker is found."""
        return "convault"

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run it by the interpreter we run by, without the process in between that would look for
        code to fetch: it lies here."""
        configuration.command = engine()
        configuration._command_configured = True
        configuration.working_dir = configuration.working_dir or Path.cwd()
        return await super().run(flow_run, configuration, task_status)

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        found = [] if self.takes_no_more else await super()._get_scheduled_flow_runs()
        if not any(entry.flow_run.work_queue_name == MANUAL for entry in found):
            return found
        waiting = await self.client.read_flow_runs(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(name=FlowRunFilterStateName(any_=list(WAITING)))
            ),
        )
        runs = [entry.flow_run for entry in found]
        first = {run.id for run in scheduled_first(runs, waiting)}
        return [entry for entry in found if entry.flow_run.id in first]


def engine() -> str:
    """The command line that carries a run, as Prefect takes it apart: by the rules of a shell, so
    that the interpreter may lie in a folder with spaces."""
    return shlex.join([sys.executable, "-m", "prefect.engine"])


def scheduled_first(found: Sequence[FlowRun], waiting: Iterable[FlowRun]) -> list[FlowRun]:
    """Of the runs that were `found` to be due, those that may go: not one that somebody asked for
    while one of a schedule of the same deployment is due or `waiting` for its turn."""
    reserved: set[UUID | None] = {
        run.deployment_id for run in (*found, *waiting) if run.work_queue_name != MANUAL
    }
    return [
        run for run in found if run.work_queue_name != MANUAL or run.deployment_id not in reserved
    ]


def main(name: str) -> None:
    """Work until SIGTERM, which stops the runs, too."""
    end_with_stdin()
    try:
        with own_scratch():
            asyncio.run(_work(name))
    except asyncio.CancelledError:
        _said("The worker has stopped.")


@contextlib.contextmanager
def own_scratch() -> Iterator[None]:
    """Temporary files of this process in a folder of its own: Prefect's runner makes
    /tmp/runner_storage, where the worker of a second user can make nothing. Runs use TMPDIR."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="cv-worker-") as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


async def _work(name: str) -> None:
    worker = Worker(work_pool_name=POOL, name=name)
    working = asyncio.create_task(worker.start(printer=_said))
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        worker.takes_no_more = True
        await _runs_ended()
        # asyncio logs each connection of a run that is gone.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        working.cancel()
    await working


async def _runs_ended() -> None:
    """Tell the runs to stop, and wait until they have: one that commits finishes first. Were the
    worker cancelled before, it would kill them."""
    for run in (runs := psutil.Process().children()):
        with contextlib.suppress(psutil.NoSuchProcess):
            run.terminate()
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < deadline:
        if not any(_lives(run) for run in runs):
            return
        await asyncio.sleep(0.2)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _said(message: object = "", *_: Any, **__: Any) -> None:
    print(message, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
