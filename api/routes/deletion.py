"""`DELETE /api/communication/backups/{id}`, and taking back, pinning and unpinning."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Security
from pydantic import BaseModel, ConfigDict, Field

from api.auth import caller
from api.body import MAX_BODY_BYTES, described, json_body, parsed
from api.caller import Caller, Scope
from api.problems import (
    BodyTooLarge,
    Forbidden,
    InvalidRequest,
    MalformedBody,
    UnsupportedMediaType,
    documented,
)
from api.routes.context import CLOSED, PREFIX, STORED, actor_of, settings_of
from api.routes.examples import RECORD, shown
from api.stopping import AT_WORK, stopped
from convault.catalog.base import BackupRecord, Catalog
from convault.copies import remaining
from convault.errors import (
    BusyError,
    NotAdopted,
    NotFoundError,
    OptionsError,
    RemovalRefused,
    SweepRefused,
)
from convault.installation import open_installation
from convault.retention import operating, sweeping
from convault.retention.audited import Actor, audited
from convault.settings import Settings

_REFUSALS = {
    **documented(NotFoundError, "There is no such backup: `convault list` shows them."),
    **documented(RemovalRefused, "The backup is the last good one of its group, so it stays."),
    **documented(InvalidRequest, "backup_id: Input should be a valid UUID."),
}
router = APIRouter(
    prefix=f"{PREFIX}/{{backup_id}}", tags=["retention"], responses={**CLOSED, **STORED}
)


class Erased(BaseModel):
    """What a purge erased, and where something of the backup still is."""

    store: str
    objects: list[str]
    """keys, the manifest's first"""
    bytes: int
    shared: list[str]
    """objects of the backup that other backups need too: the same bytes, so the same rows"""
    copies: list[str]
    """names of the copies that still have something of it, until their next run"""


class Deleted(BackupRecord):
    """The row of a deleted backup."""

    purged: Erased | None = Field(
        default=None, description="what was erased; null when it only went to the trash"
    )


class PinBody(BaseModel):
    """What `POST /{id}/pin` is asked for."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(description="why it must stay; people read it")


@router.delete(
    "",
    summary="Move a backup to the trash, or erase it",
    responses={
        **shown(200, {**RECORD, "status": "deleted", "purged": None}),
        **_REFUSALS,
        **documented(BusyError, "A backup is at work, so nothing can be removed now."),
        **documented(SweepRefused, "Nothing was removed: a manifest cannot be read."),
        **documented(NotAdopted, "Another installation made this repository."),
    },
)
def delete_backup(
    backup_id: UUID,
    settings: Annotated[Settings, Depends(settings_of)],
    who: Annotated[Caller, Security(caller, scopes=[Scope.DELETE])],
    actor: Annotated[Actor, Depends(actor_of)],
    purge: Annotated[
        bool, Query(description="erase it at once and for good, for a legal demand")
    ] = False,
    confirm: Annotated[
        UUID | None,
        Query(
            description="the same id again: also when it is pinned, or the last good one of its "
            "kind. Needs the scope admin"
        ),
    ] = None,
) -> Deleted:
    """One that is being made is cancelled first. In the trash it can be taken back for
    CONVAULT_TRASH_DAYS days. A purge answers with what was erased, what stays because other backups
    need the same bytes, and which copies still have something of it until their next run."""
    if confirm is not None and confirm != backup_id:
        raise OptionsError("confirm must be the id of the backup that is to be deleted.")
    if confirm is not None and not who.may(Scope.ADMIN):
        raise Forbidden("confirm needs the scope admin. Use a key that has it.")
    installation = open_installation(settings)
    repository, catalog = installation.repository, installation.catalog
    override = confirm is not None
    _stop(catalog, backup_id, actor, even_pinned=override)
    row = operating.delete(repository, catalog, backup_id, actor, force=override, unpin=override)
    if not purge:
        return Deleted.model_validate(row.model_dump())
    done = sweeping.purge(repository, catalog, backup_id, actor)
    erased = Erased(
        store=done.store,
        objects=list(done.erased),
        bytes=done.erased_bytes,
        shared=list(done.shared),
        copies=remaining(catalog.copies(repository.repository_id), backup_id),
    )
    row = catalog.get(backup_id)
    return Deleted.model_validate({**row.model_dump(), "purged": erased})


@router.post(
    "/undelete",
    summary="Take it back from the trash",
    dependencies=[Security(caller, scopes=[Scope.DELETE])],
    responses={**shown(200, RECORD), **_REFUSALS, **documented(NotAdopted, "It is only read.")},
)
def undelete_backup(
    backup_id: UUID,
    settings: Annotated[Settings, Depends(settings_of)],
    actor: Annotated[Actor, Depends(actor_of)],
) -> BackupRecord:
    """As long as it is there."""
    installation = open_installation(settings)
    return operating.undelete(installation.repository, installation.catalog, backup_id, actor)


@router.post(
    "/pin",
    summary="Let it stay, whatever a policy says",
    openapi_extra=described(PinBody, {"reason": "audit of 2026"}),
    dependencies=[Security(caller, scopes=[Scope.OPERATE])],
    responses={
        **shown(200, {**RECORD, "pinned": "audit of 2026"}),
        **_REFUSALS,
        **documented(MalformedBody, "The body is not JSON in UTF-8."),
        **documented(BodyTooLarge, f"The body is larger than {MAX_BODY_BYTES} bytes."),
        **documented(UnsupportedMediaType, "Send `Content-Type: application/json`."),
        **documented(OptionsError, "A pin needs a reason, of at most 500 characters."),
    },
)
def pin_backup(
    backup_id: UUID,
    body: Annotated[object, Depends(json_body)],
    settings: Annotated[Settings, Depends(settings_of)],
    actor: Annotated[Actor, Depends(actor_of)],
) -> BackupRecord:
    """Until it is unpinned."""
    reason = parsed(PinBody, body).reason
    catalog = open_installation(settings).catalog
    return operating.pin(catalog, backup_id, reason, actor)


@router.post(
    "/unpin",
    summary="Let policies decide again",
    dependencies=[Security(caller, scopes=[Scope.DELETE])],
    responses={**shown(200, RECORD), **_REFUSALS},
)
def unpin_backup(
    backup_id: UUID,
    settings: Annotated[Settings, Depends(settings_of)],
    actor: Annotated[Actor, Depends(actor_of)],
) -> BackupRecord:
    """It may be deleted then, as any other."""
    catalog = open_installation(settings).catalog
    return operating.unpin(catalog, backup_id, actor)


def _stop(catalog: Catalog, backup_id: UUID, actor: Actor, *, even_pinned: bool) -> None:
    """Cancel the run that makes it, if one does; what is not there, or must stay, is told later."""
    try:
        row = catalog.get(backup_id)
    except NotFoundError:
        return
    if row.status in AT_WORK and (even_pinned or row.pinned is None):
        with audited(catalog, actor, "cancel", backup_id) as note:
            note.detail = f"it was {row.status}, and is to be deleted"
            stopped(row, catalog)
