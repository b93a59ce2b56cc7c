"""The schedules of the backup deployment on a Prefect server, and their mirror in the catalog.

One deployment carries all of them. Each that is made here has a slug, so that `prefect deploy`
leaves it alone. Those that were made in Prefect's UI, or in prefect.yaml, are seen as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterCreatedBy,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingConcurrencySlot

from convault.catalog.base import Catalog
from convault.errors import BusyError, NotFoundError, OptionsError
from convault.schedule import BackupSchedule, id_of
from deployments.server import deployment, deployment_id, server
from deployments.start import DEPLOYMENT
from deployments.timing import text_of, timing_of, zone_of

OVERDUE = timedelta(minutes=5)
"""after which a run that has not begun is late; a worker looks for work every 15 s"""
_MOST = 200
"""runs that a Prefect server tells at once"""
_SHOWN = 80
"""characters of a text that cannot be used, in what is said of it"""
_OVER: list[StateType] = [state for state in StateType if state is not StateType.SCHEDULED]


@dataclass(frozen=True, slots=True)
class Seen:
    """A schedule as it is on the Prefect server."""

    row: BackupSchedule
    on_server: UUID | None
    """the id it has there; None for one that only the catalog knows"""
    last_result: str | None = None
    """name of the last run's state"""
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of the schedules that a Prefect server had lost."""

    made: list[str] = field(default_factory=list)
    """names of those that were made again, or set to what they were"""
    not_made: dict[str, str] = field(default_factory=dict)
    """why, by name"""


def read(catalog: Catalog, *, now: datetime, only: UUID | None = None) -> list[Seen]:
    """Every schedule (or the one with that id) with its last and next run, by name; the catalog
    follows what is seen.

    PrefectUnavailable, CatalogUnavailable.
    """
    with server("read the schedules") as client:
        # With the deployment: each time that Prefect reads a schedule costs both sides 10 ms.
        deployed = deployment(client, DEPLOYMENT)
        _name_all(client, deployed)
        asked = [each for each in deployed.schedules if only is None or _row(each).id == only]
        ids = [schedule.id for schedule in asked]
        last = first_runs(client, ids, _OVER, FlowRunSort.EXPECTED_START_TIME_DESC)
        following = first_runs(
            client, ids, [StateType.SCHEDULED], FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC
        )
    mirrored = {row.id: row for row in catalog.schedules() if only is None or row.id == only}
    seen = []
    for each in asked:
        found = _seen(each, last.get(each.id), following.get(each.id), now)
        if (before := mirrored.pop(found.row.id, None)) is not None:
            found = _remembered(found, before, now)
        if before is None or _all(before) != _all(found.row):
            catalog.save_schedule(found.row)
        seen.append(found)
    return sorted(
        [*seen, *(Seen(row, None) for row in mirrored.values())], key=lambda each: each.row.name
    )


def create(catalog: Catalog, wanted: BackupSchedule) -> None:
    """Make it on the server, then in the catalog. One that is there already, the same in every way,
    is left as it is; BusyError for another of that name, OptionsError for what Prefect does not
    take."""
    made = DeploymentScheduleCreate(
        schedule=timing_of(wanted),
        active=wanted.is_active,
        parameters=_parameters(wanted),
        slug=wanted.name,
    )
    with server("make a schedule") as client:
        found = deployment(client, DEPLOYMENT)
        there = _named(found, wanted.name)
        if there is None and not _made(client, found.id, made):
            there = _named(deployment(client, DEPLOYMENT), wanted.name)
        if there is not None and _asked(_row(there)) != _asked(wanted):
            raise BusyError(
                f"There is a schedule {wanted.name} already. Change it (PATCH), or choose another "
                "name.",
                schedule=wanted.name,
            )
    if there is not None:
        return  # the catalog has it, with its last run, or follows with the next look
    catalog.save_schedule(wanted)


def change(catalog: Catalog, seen: Seen, wanted: BackupSchedule) -> None:
    """Set what differs; one that only the catalog knew is made again. What stays the same is not
    sent: the server has it more exactly than the row. NotFoundError when it went meanwhile,
    OptionsError for what Prefect does not take."""
    before, changes = seen.row, dict[str, Any]()
    if wanted.is_active != before.is_active:
        changes["active"] = wanted.is_active
    if wanted.options != before.options:
        changes["parameters"] = _parameters(wanted)
    if (wanted.schedule, wanted.timezone) != (before.schedule, before.timezone):
        changes["schedule"] = timing_of(wanted)
        wanted = wanted.model_copy(update={"next_run_at": None})  # that was of the other timing
    if changes or seen.on_server is None:
        _set(catalog, seen, wanted, changes)


def switch(catalog: Catalog, seen: Seen, active: bool) -> None:
    """Switch it on or off, of whatever kind it is."""
    wanted = seen.row.model_copy(update={"is_active": active})
    _set(catalog, seen, wanted, {"active": active})


def _set(catalog: Catalog, seen: Seen, wanted: BackupSchedule, changes: Mapping[str, Any]) -> None:
    if seen.on_server is None:
        create(catalog, wanted)
        return
    with server("change a schedule") as client:
        try:
            client.update_deployment_schedule(
                deployment_id(client, DEPLOYMENT), seen.on_server, **changes
            )
        except ObjectNotFound:
            raise _gone(wanted.id) from None
    catalog.save_schedule(wanted)


def delete(catalog: Catalog, seen: Seen) -> None:
    """Remove it from the server, then from the catalog."""
    if seen.on_server is not None:
        # Somebody else may have removed it: then it is gone, as was asked for.
        with server("remove a schedule") as client, suppress(ObjectNotFound):
            found = deployment_id(client, DEPLOYMENT)
            _keep_due(client, found, but=seen.on_server)
            client.delete_deployment_schedule(found, seen.on_server)
    catalog.delete_schedule(seen.row.id)


def rebuild(catalog: Catalog, *, new_deployment: bool = False) -> Rebuilt:
    """Make those again that the catalog knows and the server does not. Where the deployment is new
    on the server, those that prefect.yaml has made there are set to what they were as well. One
    that cannot be made keeps no other from it. PrefectUnavailable, CatalogUnavailable."""
    done = Rebuilt()
    with server("make the schedules again") as client:
        there = {each.slug: each for each in deployment(client, DEPLOYMENT).schedules}
    for row in catalog.schedules():
        found = there.get(row.name)
        try:
            if found is None:
                create(catalog, row)
            elif new_deployment and _asked(_row(found)) != _asked(row):
                change(catalog, Seen(_row(found), found.id), row)
            else:
                continue
        except OptionsError as error:
            told = f"{row.schedule[:_SHOWN]!r} in {row.timezone[:_SHOWN]!r}"
            done.not_made[row.name] = f"`backup_schedules` says {told}. {error.message}"
        except (BusyError, NotFoundError) as error:  # somebody was quicker
            done.not_made[row.name] = error.message
        else:
            done.made.append(row.name)
    return done


def _name_all(client: SyncPrefectClient, found: DeploymentResponse) -> None:
    """Give those that Prefect's UI made without a name their id as one: as long as one has none,
    the next `prefect deploy` removes all that prefect.yaml does not list."""
    for each in found.schedules:
        if each.slug is None:
            with suppress(ObjectNotFound):  # it went meanwhile
                client.update_deployment_schedule(found.id, each.id, slug=str(each.id))


def _keep_due(client: SyncPrefectClient, deployment: UUID, *, but: UUID) -> None:
    """Let the runs of the other schedules that are due, and that no worker took yet, wait as one
    does whose turn it is not: with a schedule, Prefect removes all others that its deployment's
    schedules made. Those of the future it makes again."""
    due = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment]),
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late"])),
    )
    for run in client.read_flow_runs(flow_run_filter=due, limit=_MOST):
        if run.auto_scheduled and run.created_by is not None and run.created_by.id != but:
            client.set_flow_run_state(run.id, AwaitingConcurrencySlot())


def _named(found: DeploymentResponse, name: str) -> DeploymentSchedule | None:
    return next((each for each in found.schedules if each.slug == name), None)


def _made(client: SyncPrefectClient, deployment: UUID, wanted: DeploymentScheduleCreate) -> bool:
    """Make it; False where somebody made one of that name meanwhile. OptionsError, where the server
    takes less than its client does."""
    try:
        client.create_deployment_schedules(deployment, [wanted])
    except httpx.HTTPStatusError as error:
        if error.response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            raise OptionsError(
                "schedule: the Prefect server does not take it. Say it in a simpler way."
            ) from None
        if error.response.status_code != httpx.codes.CONFLICT:
            raise
        return False
    return True


def _seen(
    schedule: DeploymentSchedule, last: FlowRun | None, following: FlowRun | None, now: datetime
) -> Seen:
    due = None if following is None else following.expected_start_time
    row = _row(schedule)
    # A new one has no run yet: the server makes them within a minute.
    row = row.model_copy(
        update={
            "last_run_at": None if last is None else last.start_time or last.expected_start_time,
            "next_run_at": due or row.due_after(now),
        }
    )
    return Seen(
        row,
        schedule.id,
        None if last is None else last.state_name,
        overdue=schedule.active and due is not None and due < now - OVERDUE,
    )


def _remembered(seen: Seen, before: BackupSchedule, now: datetime) -> Seen:
    """With what the catalog knows and the server does not: the last run, where the server forgot it
    or is a new one; and the next run of an unchanged rule, since the server removes what it planned
    with each change of any schedule, and plans it again within a minute."""
    row = seen.row
    last, following = row.last_run_at or before.last_run_at, row.next_run_at
    same = _asked(before) == _asked(row) and row.is_active
    if following is None and same and before.next_run_at is not None and before.next_run_at > now:
        following = before.next_run_at
    return replace(seen, row=row.model_copy(update={"last_run_at": last, "next_run_at": following}))


def first_runs(
    client: SyncPrefectClient, schedules: Sequence[UUID], states: list[StateType], sort: FlowRunSort
) -> dict[UUID, FlowRun]:
    """The first run of each schedule that has one, by schedule.

    Each request leaves out the schedules whose run is known, so that hundreds of them take a few
    requests rather than two each, whatever one of them has run.
    """
    found: dict[UUID, FlowRun] = {}
    left = set(schedules)
    while left:
        limit = min(len(left), _MOST)
        page = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                created_by=FlowRunFilterCreatedBy(id_=sorted(left)),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
            ),
            sort=sort,
            limit=limit,
        )
        for run in page:
            if run.created_by is not None and run.created_by.id is not None:
                found.setdefault(run.created_by.id, run)
        if len(page) < limit or not left & found.keys():
            break
        left -= found.keys()
    return found


def _row(schedule: DeploymentSchedule) -> BackupSchedule:
    """The row of it."""
    options = schedule.parameters.get("options")
    return BackupSchedule(
        id=id_of(schedule.slug) if schedule.slug else schedule.id,
        name=schedule.slug or str(schedule.id),
        schedule=text_of(schedule.schedule),
        timezone=zone_of(schedule.schedule),
        options=dict(options) if isinstance(options, Mapping) else {},
        is_active=schedule.active,
        created_at=schedule.created,
        updated_at=schedule.updated,
    )


def _parameters(row: BackupSchedule) -> dict[str, Any]:
    """Those of its runs. Without options they are the deployment's, as in Prefect's UI."""
    return {"options": row.options} if row.options else {}


def _all(row: BackupSchedule) -> dict[str, Any]:
    return row.model_dump(exclude={"created_at", "updated_at"})


def _asked(row: BackupSchedule) -> dict[str, Any]:
    return row.model_dump(include={"name", "schedule", "timezone", "options", "is_active"})


def _gone(schedule_id: UUID) -> NotFoundError:
    return NotFoundError(
        f"There is no schedule {schedule_id}: GET .../scheduler/status shows those there are.",
        schedule=schedule_id,
    )
