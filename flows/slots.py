"""A slot is one time at which one schedule comes due. Each is run once, whatever starts twice; and
of those that were missed while nobody worked, only the newest.

What is due is the Prefect server's to say, by its own clock: a later run of the same schedule that
is Late, waits for its turn, works or is over. The clock of this machine decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import ParamSpec, TypeVar, cast
from uuid import UUID, uuid4, uuid5

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterCreatedBy,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.states import Cancelled

from convault.catalog import open_catalog
from convault.catalog.base import BackupStatus, Catalog
from convault.errors import ConvaultError, NotFoundError
from convault.settings import load_settings

P = ParamSpec("P")
R = TypeVar("R")

CAME_DUE = (
    "Late",
    "AwaitingConcurrencySlot",
    "Pending",
    "Running",
    "Completed",
    "Failed",
    "Crashed",
)
"""names of states that a run has only once its time has come; any may be cancelled before"""
_NAMESPACE = UUID("6b0c3f0e-7d5e-5f5c-9f4f-0d6f4b1f2a37")
"""of the ids of backups that a schedule makes; any fixed UUID would do"""


@dataclass(frozen=True, slots=True)
class Slot:
    """When one schedule came due."""

    schedule_id: UUID
    name: str
    """the schedule's slug: the same on every Prefect server"""
    due: datetime


def current_slot() -> Slot | None:
    """That of the flow run we are in; None for one that somebody started."""
    context = FlowRunContext.get()
    run = None if context is None else context.flow_run
    if run is None or run.created_by is None or run.created_by.type != "SCHEDULE":
        return None
    if run.created_by.id is None or run.expected_start_time is None:
        return None
    name = run.created_by.display_value or str(run.created_by.id)
    return Slot(run.created_by.id, name, run.expected_start_time)


def newest_slot_only(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, a flow, which ends as Cancelled when a later slot of its schedule came due: after
    an outage each schedule runs once."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        slot = current_slot()
        if slot is not None and _superseded(slot):
            get_run_logger().info("Nothing is done: a later run of the schedule came due.")
            # A flow that returns a state ends in it.
            return cast(R, Cancelled(message="Missed: a later run of this schedule came due."))
        return function(*args, **kwargs)

    return call


def one_backup_per_slot(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, the flow that makes a backup, likewise; and it ends as Cancelled when the slot's
    backup was made, or is being made, by another run: two Prefect servers may have the schedule."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        slot = current_slot()
        if slot is not None and _taken(slot):
            get_run_logger().info("Nothing is done: another run makes this backup.")
            return cast(R, Cancelled(message="Another run made the backup of this slot."))
        return function(*args, **kwargs)

    return newest_slot_only(call)


def backup_of_slot(catalog: Catalog) -> UUID:
    """The id of the backup to make now: that of the slot, so that it cannot be made twice, by
    whichever Prefect server; a new one for a run that somebody started, and when the slot's backup
    failed, since it was then asked for again."""
    slot = current_slot()
    if slot is None:
        return uuid4()
    backup_id = slot_id(slot, catalog.installation_id())
    try:
        failed = catalog.get(backup_id).status is BackupStatus.FAILED
    except NotFoundError:
        return backup_id
    return uuid4() if failed else backup_id


def slot_id(slot: Slot, installation_id: UUID | None) -> UUID:
    """The same for the same slot of the same catalog."""
    return uuid5(_NAMESPACE, f"{installation_id} {slot.name} {slot.due.timestamp():.0f}")


def _taken(slot: Slot) -> bool:
    """Whether the slot's backup has a row that is no failure's. Where the catalog cannot be asked
    the flow itself says what is wrong."""
    try:
        catalog = open_catalog(load_settings().catalog_url())
        row = catalog.get(slot_id(slot, catalog.installation_id()))
    except ConvaultError:
        return False
    return row.status is not BackupStatus.FAILED


def _superseded(slot: Slot) -> bool:
    """Whether a later slot of the schedule came due. When the server does not say, this one runs:
    one backup too many is better than none."""
    later = FlowRunFilter(
        created_by=FlowRunFilterCreatedBy(id_=[slot.schedule_id]),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=slot.due),  # type: ignore[arg-type]
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=list(CAME_DUE))),
    )
    try:
        with get_client(sync_client=True) as client:
            found = client.read_flow_runs(flow_run_filter=later, limit=2)
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning(
            "Whether a later run came due is unknown: %s", type(error).__name__
        )
        return False
    return any(run.expected_start_time and run.expected_start_time > slot.due for run in found)
