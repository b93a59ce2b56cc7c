"""`POST /api/communication/backups/{id}/restore`, `/verify`, `/drill` and `/cancel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Security
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from api.auth import caller
from api.body import MAX_BODY_BYTES, described, json_body, parsed
from api.caller import Scope
from api.patience import impatient
from api.problems import (
    BodyTooLarge,
    LiveRestoreForbidden,
    MalformedBody,
    UnsupportedMediaType,
    documented,
)
from api.routes.context import CLOSED, PREFIX, actor_of, catalog_of, settings_of
from api.routes.examples import RECORD, shown
from api.stopping import AT_WORK, stop
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.doctor import address
from convault.errors import (
    BusyError,
    ConfigurationError,
    NotFoundError,
    OptionsError,
    PrefectUnavailable,
)
from convault.project import project
from convault.restore import RestoreOptions
from convault.restore.options import Mode
from convault.retention.audited import Actor, audited
from convault.settings import Settings
from convault.verification.reading import Subset
from deployments import start_drill, start_restore, start_verify


class _Body(BaseModel):
    """camelCase; snake_case is taken, too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class RestoreBody(_Body):
    """What `POST /{id}/restore` is asked for."""

    target: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$",
        description="NAME of the worker's CONVAULT_TARGET_<NAME>_URL",
    )
    options: RestoreOptions = RestoreOptions()
    trust: bool = Field(default=False, description="take an archive that is not signed")
    agree: bool = Field(default=False, description="yes to what the command line would ask")


class VerifyBody(_Body):
    """What `POST /{id}/verify` is asked for."""

    read_data: str | None = Field(
        default=None, description="`N/T`: N of T slices, others each time; `all`; null: none"
    )


class DrillBody(_Body):
    """What `POST /{id}/drill` is asked for."""

    into: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$",
        description="a target's name; null: a Postgres that is started for it",
    )


class Started(BaseModel):
    """A run that is on its way."""

    backup_id: UUID
    flow_run_id: UUID


_STARTED = shown(
    202,
    Started(backup_id=UUID(RECORD["id"]), flow_run_id=UUID("5b0c7f9e-52c1-4a55-8f0e-8d4f7f3a6c21")),
)
_STARTS = {
    **CLOSED,
    **documented(MalformedBody, "The body is not JSON in UTF-8."),
    **documented(NotFoundError, "There is no backup with that id."),
    **documented(BusyError, "Only a completed backup can be restored."),
    **documented(BodyTooLarge, f"The body is larger than {MAX_BODY_BYTES} bytes."),
    **documented(UnsupportedMediaType, "Send `Content-Type: application/json`."),
    **documented(OptionsError, "readData: this is neither N/T nor `all`."),
    **documented(PrefectUnavailable, "The Prefect server cannot be reached."),
}

router = APIRouter(prefix=f"{PREFIX}/{{backup_id}}", tags=["runs"], responses=_STARTS)


def completed(backup_id: UUID, catalog: Annotated[Catalog, Depends(catalog_of)]) -> BackupRecord:
    """The row of a backup that is complete. NotFoundError, BusyError."""
    record = catalog.get(backup_id)
    if record.status is not BackupStatus.COMPLETED:
        raise BusyError(
            f"Backup {backup_id} is {record.status}: this needs one that is completed.",
            backup=backup_id,
        )
    return record


class Starter:
    """Starts runs of one backup, and writes down who asked for them."""

    def __init__(self, record: BackupRecord, catalog: Catalog, actor: Actor) -> None:
        self._record, self._catalog, self._actor = record, catalog, actor

    def __call__(self, action: str, detail: str, start: Callable[[], UUID]) -> Started:
        """Do it. PrefectUnavailable, CatalogUnavailable."""
        backup_id = self._record.id
        with audited(self._catalog, self._actor, action, backup_id) as note, impatient():
            run = start()
            note.detail = f"{detail}; flow run {run}"
        return Started(backup_id=backup_id, flow_run_id=run)


def starter(
    record: Annotated[BackupRecord, Depends(completed)],
    catalog: Annotated[Catalog, Depends(catalog_of)],
    actor: Annotated[Actor, Depends(actor_of)],
) -> Starter:
    """For a backup that is complete; see `completed`."""
    return Starter(record, catalog, actor)


@router.post(
    "/restore",
    status_code=202,
    summary="Restore it into a target",
    dependencies=[Security(caller, scopes=[Scope.RESTORE])],
    responses={
        **_STARTED,
        **documented(LiveRestoreForbidden, "This would change live tables."),
    },
    openapi_extra=described(RestoreBody, {"target": "staging", "options": {"mode": "skip"}}),
)
def restore_backup(
    body: Annotated[object, Depends(json_body)],
    record: Annotated[BackupRecord, Depends(completed)],
    settings: Annotated[Settings, Depends(settings_of)],
    start: Annotated[Starter, Depends(starter)],
) -> Started:
    """Start a restore of the backup. Rows of live tables change, and rows go into the source, only
    where CONVAULT_ALLOW_LIVE_RESTORE is set."""
    asked = parsed(RestoreBody, body)
    asked.options.check()
    _require_allowed(settings, asked)
    if asked.options.files:
        _require_project()
    options, trust, agree = asked.options, asked.trust, asked.agree
    return start(
        "restore",
        f"into {asked.target}, mode {options.mode}{', a dry run' if options.dry_run else ''}",
        lambda: start_restore(record.id, asked.target, options, trust=trust, agree=agree),
    )


@router.post(
    "/verify",
    status_code=202,
    summary="Look its objects up, and read some of them",
    dependencies=[Security(caller, scopes=[Scope.OPERATE])],
    openapi_extra=described(VerifyBody, {"readData": "all"}),
    responses=_STARTED,
)
def verify_backup(
    body: Annotated[object, Depends(json_body)],
    record: Annotated[BackupRecord, Depends(completed)],
    start: Annotated[Starter, Depends(starter)],
) -> Started:
    """Start a verification of the backup."""
    read_data = parsed(VerifyBody, body).read_data
    if read_data is not None:
        Subset.parse(read_data)
    told = f"reading {read_data or 'nothing'}"
    return start("verify", told, lambda: start_verify(record.id, read_data))


@router.post(
    "/drill",
    status_code=202,
    summary="Restore it for a trial",
    dependencies=[Security(caller, scopes=[Scope.OPERATE])],
    openapi_extra=described(DrillBody, {}),
    responses=_STARTED,
)
def drill_backup(
    body: Annotated[object, Depends(json_body)],
    record: Annotated[BackupRecord, Depends(completed)],
    settings: Annotated[Settings, Depends(settings_of)],
    start: Annotated[Starter, Depends(starter)],
) -> Started:
    """Start a drill of the backup; its report is in the row's `drill` afterwards."""
    into = parsed(DrillBody, body).into
    if into is not None:
        settings.target_url(into)
    told = f"into {into or 'a Postgres of its own'}"
    return start("drill", told, lambda: start_drill(record.id, into))


@router.post(
    "/cancel",
    status_code=202,
    summary="Stop the run that makes it",
    dependencies=[Security(caller, scopes=[Scope.OPERATE])],
    responses=shown(202, RECORD),
)
def cancel_backup(
    backup_id: UUID,
    catalog: Annotated[Catalog, Depends(catalog_of)],
    actor: Annotated[Actor, Depends(actor_of)],
) -> BackupRecord:
    """Tell the run of a backup that is not complete to stop. One that waits never starts; one that
    works lets go of everything and says `failed` itself, within seconds."""
    with audited(catalog, actor, "cancel", backup_id):
        return _cancelled(catalog, backup_id)


def _cancelled(catalog: Catalog, backup_id: UUID) -> BackupRecord:
    record = catalog.get(backup_id)
    if record.status not in AT_WORK:
        raise BusyError(
            f"Backup {backup_id} is {record.status}: there is nothing to cancel.",
            backup=backup_id,
        )
    return stop(record, catalog)


def _require_project() -> None:
    """OptionsError: what is asked for cannot be had here."""
    try:
        project()
    except ConfigurationError as error:
        raise OptionsError(f"options.files goes into a Supabase project. {error.message}") from None


def _require_allowed(settings: Settings, asked: RestoreBody) -> None:
    """NotFoundError for a target that is not there, LiveRestoreForbidden for what may not be."""
    target = settings.target_url(asked.target)
    into_source = settings.database_url is not None and address.parse(target).is_same_database(
        address.parse(settings.source_url())
    )
    live = (
        asked.options.mode is not Mode.FAIL
        or (into_source and asked.options.into_schema is None)
        or asked.options.files  # they go into the project of SUPABASE_URL, which lives
    )
    if live and not asked.options.dry_run and not settings.convault_allow_live_restore:
        raise LiveRestoreForbidden(
            "This would change live tables or files, which the API may not here. Set "
            "CONVAULT_ALLOW_LIVE_RESTORE=1 for it, restore into a database of its own or another "
            "schema (intoSchema), look with dryRun first, or use `convault restore`."
        )
