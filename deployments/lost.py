"""Rows of `backups` whose run will not come any more: they say so, instead of waiting for ever.

A pending row waits for a run. It fails when that run is gone or over, never for how long it waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import FlowRun

from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.installation import Installation
from convault.reconcile import reconcile
from deployments.server import server

UNSTARTED = timedelta(minutes=10)
"""by the database's clock: how long a row may have no run, while the API hands it over; it gives up
after half a minute"""
_MOST = 200
"""that Prefect's API returns at once"""


def settle(catalog: Catalog) -> tuple[UUID, ...]:
    """Say `failed` in pending rows whose run is gone or over; their ids. Rows that anybody changes
    meanwhile are left alone. PrefectUnavailable, CatalogUnavailable."""
    rows = catalog.list(status=BackupStatus.PENDING)
    if not rows:
        return ()
    runs = _runs(rows[-_MOST:])
    now = catalog.now()
    settled = []
    for row in rows[-_MOST:]:
        why = reason(row, runs.get(row.id), now)
        if why and catalog.replace(row, status=BackupStatus.FAILED, error=why):
            settled.append(row.id)
    return tuple(settled)


def settle_killed(installation: Installation) -> tuple[UUID, ...]:
    """Put rows right whose run was killed while it worked; ids of those that changed."""
    return tuple(
        change.backup_id for change in reconcile(installation.repository, installation.catalog)
    )


def reason(row: BackupRecord, run: FlowRun | None, now: datetime) -> str | None:
    """Why the pending row has no run to wait for; None when it has, or may still get one."""
    if run is None:
        if row.flow_run_id is not None:
            return (
                "The Prefect server does not know the run of this backup any more: it was deleted, "
                "or the server lost its data. Start a new backup."
            )
        if now - row.created_at < UNSTARTED:
            return None
        return "This backup was never handed to Prefect. Start a new one."
    state = run.state
    if state is None or not state.is_final():
        return None
    return f"Its run was over before it began ({state.name}). Start a new backup."


def _runs(rows: Iterable[BackupRecord]) -> Mapping[UUID, FlowRun]:
    """The runs of these rows, by the backup's id: by the run's own id, or, where the row does not
    know it, by the name that `start_backup` gives."""
    by_run = {row.flow_run_id: row.id for row in rows if row.flow_run_id is not None}
    by_name = {f"backup-{row.id}": row.id for row in rows if row.flow_run_id is None}
    found: dict[UUID, FlowRun] = {}
    with server("look for runs that are waited for") as client:
        if by_run:
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=list(by_run)))
            for run in client.read_flow_runs(flow_run_filter=wanted, limit=_MOST):
                found[by_run[run.id]] = run
        if by_name:
            wanted = FlowRunFilter(name=FlowRunFilterName(any_=list(by_name)))
            for run in client.read_flow_runs(flow_run_filter=wanted, limit=_MOST):
                found[by_name[run.name]] = run
    return found
