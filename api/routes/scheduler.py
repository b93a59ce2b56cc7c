"""`/api/communication/backups/scheduler`: when backups are made. Prefect keeps the schedules."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Response, Security
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from api.auth import caller
from api.body import MAX_BODY_BYTES, described, json_body, parsed
from api.caller import Scope
from api.links import now
from api.patience import impatient
from api.problems import BodyTooLarge, MalformedBody, UnsupportedMediaType, documented
from api.routes.context import CLOSED, PREFIX, actor_of, catalog_of, settings_of
from api.routes.examples import COMPLETED, shown
from convault.catalog.base import BackupRecord, BackupStatus, Catalog, Query
from convault.errors import (
    BusyError,
    NotFoundError,
    OptionsError,
    PrefectUnavailable,
    SourceError,
)
from convault.files.wanted import files_wanted
from convault.installation import source_of
from convault.models import BackupOptions
from convault.retention.audited import Actor, audited
from convault.schedule import (
    WORDS,
    BackupSchedule,
    id_of,
    require_name,
    require_schedule,
    require_timezone,
)
from convault.settings import Settings
from deployments import schedules
from deployments.schedules import Seen
from deployments.workers import Workers, workers

RECENT = 10
"""backups that `status` shows"""
_ACTIVE = AliasChoices("is_active", "isActive")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewSchedule(_Body):
    """What `POST` is asked for."""

    schedule: str = Field(description="daily, weekly, monthly or a cron line of five fields")
    timezone: str | None = Field(default=None, description="IANA name; null: CONVAULT_TIMEZONE")
    options: dict[str, Any] = Field(default_factory=dict, description="of the backups")
    is_active: bool = Field(default=True, validation_alias=_ACTIVE)
    name: str | None = Field(default=None, description="small letters, digits and hyphens")


class ChangedSchedule(_Body):
    """What `PATCH` is asked for: what is given is set."""

    schedule: str | None = None
    timezone: str | None = None
    options: dict[str, Any] | None = None
    is_active: bool | None = Field(default=None, validation_alias=_ACTIVE)


class Toggle(_Body):
    """What `POST /toggle` is asked for."""

    id: UUID
    is_active: bool = Field(validation_alias=_ACTIVE)


class ScheduleState(BackupSchedule):
    """A schedule, and how it goes."""

    last_result: str | None = None
    """of the last run, as Prefect calls it: Completed, Failed, Crashed, Cancelled, Running"""
    overdue: bool = False
    """its run was due some minutes ago, and has not begun"""
    on_server: bool = True
    """false: the Prefect server does not know it any more; `convault init` makes it again"""


class Status(BaseModel):
    """All schedules, and how backups go."""

    schedules: list[ScheduleState]
    totals: dict[str, int]
    """backups by status"""
    success_rate: float | None
    """completed among those that are over, from 0 to 1"""
    recent: list[BackupRecord]
    workers: Workers


_EXAMPLE = BackupSchedule(
    id=id_of("nightly"), name="nightly", schedule="daily", timezone="America/Sao_Paulo"
).model_dump(mode="json")
_CHANGES = {
    **documented(MalformedBody, "The body is not JSON in UTF-8."),
    **documented(BodyTooLarge, f"The body is larger than {MAX_BODY_BYTES} bytes."),
    **documented(UnsupportedMediaType, "Send `Content-Type: application/json`."),
    **documented(OptionsError, "schedule: say daily, weekly, monthly or a cron line."),
    **documented(BusyError, "There is a schedule of that name already."),
    **documented(SourceError, "The source has no table of messages."),
}
_ONE = documented(NotFoundError, "There is no schedule with that id.")
_OPERATE = [Security(caller, scopes=[Scope.OPERATE])]

router = APIRouter(
    prefix=f"{PREFIX}/scheduler",
    tags=["scheduler"],
    responses={**CLOSED, **documented(PrefectUnavailable, "The Prefect server is not reached.")},
)


@router.post(
    "",
    status_code=201,
    summary="Make a schedule",
    dependencies=_OPERATE,
    openapi_extra=described(NewSchedule, {"schedule": "daily", "timezone": "America/Sao_Paulo"}),
    responses={**shown(201, _EXAMPLE), **_CHANGES},
)
def create_schedule(
    body: Annotated[object, Depends(json_body)],
    catalog: Annotated[Catalog, Depends(catalog_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    actor: Annotated[Actor, Depends(actor_of)],
    response: Response,
) -> BackupSchedule:
    """Make a schedule of backups with these options. The same again changes nothing."""
    asked = parsed(NewSchedule, body)
    schedule = require_schedule(asked.schedule)
    word = schedule if schedule in WORDS else "backup"
    name = require_name(asked.name if asked.name is not None else f"{word}-{uuid4().hex[:8]}")
    made = BackupSchedule(
        id=id_of(name),
        name=name,
        schedule=schedule,
        timezone=require_timezone(
            settings.convault_timezone.key if asked.timezone is None else asked.timezone
        ),
        options=_options(settings, asked.options),
        is_active=asked.is_active,
    )
    with audited(catalog, actor, "schedule") as note, impatient():
        note.detail = f"make {made.name}, {made.schedule} in {made.timezone}"
        schedules.create(catalog, made)
    response.headers["Location"] = f"{PREFIX}/scheduler/{made.id}"
    return _one(catalog, made.id).row


@router.get(
    "/status",
    summary="All schedules, and how backups go",
    responses=shown(
        200,
        Status(
            schedules=[ScheduleState.model_validate({**_EXAMPLE, "last_result": "Completed"})],
            totals={"completed": 1, "failed": 0, "total": 1},
            success_rate=1.0,
            recent=[BackupRecord.model_validate(COMPLETED)],
            workers=Workers(online=1, last_heartbeat_at=None, paused=False, late_runs=0),
        ),
    ),
)
def status(
    _: Annotated[object, Security(caller, scopes=[Scope.LIST])],
    catalog: Annotated[Catalog, Depends(catalog_of)],
) -> Status:
    """Every schedule with its last and next run, wherever it was made; totals; recent backups; and
    whether a worker is there to run any."""
    with impatient():
        seen = schedules.read(catalog, now=now())
        health = workers()
    counts = {
        state.value: catalog.page(Query(status=state, limit=1)).total for state in BackupStatus
    }
    over = counts[BackupStatus.COMPLETED] + counts[BackupStatus.FAILED]
    return Status(
        schedules=[_state(each) for each in seen],
        totals={**counts, "total": sum(counts.values())},
        success_rate=counts[BackupStatus.COMPLETED] / over if over else None,
        recent=list(catalog.page(Query(limit=RECENT)).records),
        workers=health,
    )


@router.post(
    "/toggle",
    summary="Switch a schedule on or off",
    dependencies=_OPERATE,
    openapi_extra=described(Toggle, {"id": str(id_of("nightly")), "is_active": False}),
    responses={**shown(200, _EXAMPLE), **_CHANGES, **_ONE},
)
def toggle_schedule(
    body: Annotated[object, Depends(json_body)],
    catalog: Annotated[Catalog, Depends(catalog_of)],
    actor: Annotated[Actor, Depends(actor_of)],
) -> BackupSchedule:
    """Switch it, wherever it was made."""
    asked = parsed(Toggle, body)
    with audited(catalog, actor, "schedule") as note, impatient():
        note.detail = f"switch {asked.id} {'on' if asked.is_active else 'off'}"
        schedules.switch(catalog, _one(catalog, asked.id), asked.is_active)
    return _one(catalog, asked.id).row


@router.patch(
    "/{schedule_id}",
    summary="Change a schedule",
    dependencies=_OPERATE,
    openapi_extra=described(ChangedSchedule, {"schedule": "30 1 * * 1-5"}),
    responses={**shown(200, _EXAMPLE), **_CHANGES, **_ONE},
)
def change_schedule(
    schedule_id: UUID,
    body: Annotated[object, Depends(json_body)],
    catalog: Annotated[Catalog, Depends(catalog_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    actor: Annotated[Actor, Depends(actor_of)],
) -> BackupSchedule:
    """Set what is given; what is not stays as it is, also the interval or the rule of one that
    Prefect's UI made."""
    asked = parsed(ChangedSchedule, body)
    with audited(catalog, actor, "schedule") as note, impatient():
        note.detail = f"change {schedule_id}: {', '.join(sorted(asked.model_fields_set))}"
        seen = _one(catalog, schedule_id)
        changes: dict[str, Any] = {}
        if asked.schedule is not None and asked.schedule != seen.row.schedule:
            changes["schedule"] = require_schedule(asked.schedule)
        if asked.timezone is not None:
            changes["timezone"] = require_timezone(asked.timezone)
        if asked.options is not None:
            changes["options"] = _options(settings, asked.options)
        if asked.is_active is not None:
            changes["is_active"] = asked.is_active
        wanted = seen.row.model_copy(update=changes)
        schedules.change(catalog, seen, wanted)
    return _one(catalog, schedule_id).row


@router.delete(
    "/{schedule_id}",
    status_code=204,
    summary="Remove a schedule",
    dependencies=_OPERATE,
    responses=_ONE,
)
def delete_schedule(
    schedule_id: UUID,
    catalog: Annotated[Catalog, Depends(catalog_of)],
    actor: Annotated[Actor, Depends(actor_of)],
) -> None:
    """Its backups stay. One of prefect.yaml comes back with the next `prefect deploy`."""
    with audited(catalog, actor, "schedule") as note, impatient():
        note.detail = f"remove {schedule_id}"
        schedules.delete(catalog, _one(catalog, schedule_id))


def _one(catalog: Catalog, schedule_id: UUID) -> Seen:
    """NotFoundError."""
    with impatient():
        found = schedules.read(catalog, now=now(), only=schedule_id)
    if found:
        return found[0]
    raise NotFoundError(
        f"There is no schedule {schedule_id}: GET {PREFIX}/scheduler/status shows those there are.",
        schedule=schedule_id,
    )


def _options(settings: Settings, asked: object) -> dict[str, Any]:
    """Options that a backup can be made with. OptionsError, and what the source says of them."""
    options = BackupOptions.parse(asked)
    source_of(settings, options).check()
    files_wanted(settings, options)
    return dict(options.to_json())


def _state(seen: Seen) -> ScheduleState:
    return ScheduleState(
        **seen.row.model_dump(),
        last_result=seen.last_result,
        overdue=seen.overdue,
        on_server=seen.on_server is not None,
    )
