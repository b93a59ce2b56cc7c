"""Whether somebody is there to run what is scheduled."""

from __future__ import annotations

from datetime import datetime

from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel

from deployments.server import server

POOL = "convault"
"""the work pool of prefect.yaml"""
_MOST = 200


class Workers(BaseModel):
    """Of the work pool."""

    online: int
    """workers that were heard of lately"""
    last_heartbeat_at: datetime | None
    """of any worker"""
    paused: bool
    """whether the pool hands out no work"""
    late_runs: int
    """runs that are due and wait for a worker, 200 at most"""


def workers() -> Workers:
    """How the work pool is. PrefectUnavailable."""
    with server("look at the work pool") as client:
        try:
            pool = client.read_work_pool(POOL)
        except ObjectNotFound:
            return Workers(online=0, last_heartbeat_at=None, paused=False, late_runs=0)
        found = client.read_workers_for_work_pool(POOL)
        late = client.read_flow_runs(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late"]))
            ),
            limit=_MOST,
        )
    beats = [worker.last_heartbeat_time for worker in found if worker.last_heartbeat_time]
    return Workers(
        online=sum(
            str(getattr(worker.status, "value", worker.status)) == "ONLINE" for worker in found
        ),
        last_heartbeat_at=max(beats, default=None),
        paused=pool.is_paused,
        late_runs=len(late),
    )
