"""Stop the run that makes a backup, and wait until it has let go."""

from __future__ import annotations

import time

from api.patience import impatient
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.errors import BusyError
from deployments import cancel

AT_WORK = frozenset({BackupStatus.PENDING, BackupStatus.PROCESSING})
WAIT_SECONDS = 20.0
"""for a run that was told to stop: it ends the piece it is at, and writes its row"""
_LOOK_SECONDS = 0.25


def stop(record: BackupRecord, catalog: Catalog) -> BackupRecord:
    """Tell the run of a backup that is at work to stop; the row as it is then. One that waits
    never starts, and is failed at once. BusyError when nobody can be told."""
    stopped = False
    if record.flow_run_id is not None:
        with impatient():
            stopped = cancel(record.flow_run_id)
    if record.status is BackupStatus.PROCESSING:
        if not stopped:
            raise BusyError(
                f"Backup {record.id} is made by a run that Prefect does not know or calls over. "
                "A command line is stopped with Ctrl-C; a run that died is called failed by the "
                "next backup.",
                backup=record.id,
            )
        return record
    failed = {"status": BackupStatus.FAILED, "error": "Cancelled before it started."}
    return catalog.replace(record, **failed) or catalog.get(record.id)


def stopped(record: BackupRecord, catalog: Catalog) -> BackupRecord:
    """The row once its run has stopped, if it was at work. BusyError when that takes long."""
    if record.status not in AT_WORK:
        return record
    deadline = time.monotonic() + WAIT_SECONDS
    row = stop(record, catalog)
    while row.status in AT_WORK:
        if time.monotonic() > deadline:
            raise BusyError(
                f"Backup {record.id} was told to stop, and has not yet: ask again in a moment.",
                backup=record.id,
            )
        time.sleep(_LOOK_SECONDS)
        row = catalog.get(record.id)
    return row
