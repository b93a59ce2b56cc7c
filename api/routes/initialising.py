"""`POST /api/communication/backups/init`: make what is missing."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Security
from pydantic import BaseModel, ConfigDict

from api.auth import caller
from api.body import MAX_BODY_BYTES, described, json_body, parsed
from api.caller import Scope
from api.patience import impatient
from api.problems import BodyTooLarge, MalformedBody, UnsupportedMediaType, documented
from api.routes.context import CLOSED, PREFIX, actor_of, catalog_of, settings_of
from convault.catalog.base import Catalog
from convault.errors import (
    BusyError,
    CatalogError,
    OptionsError,
    PrefectUnavailable,
    RepositoryError,
    StoreError,
    StoreUnavailable,
)
from convault.retention.audited import Actor, audited
from convault.settings import Settings
from deployments.initialising import prepare


class InitBody(BaseModel):
    """There is nothing to choose: what would lose something is left to `convault init`."""

    model_config = ConfigDict(extra="forbid")


class InitAnswer(BaseModel):
    """What was done; the same again makes nothing."""

    repository_id: UUID
    migrations: list[str]
    """applied now"""
    created: bool
    """whether the repository is new"""
    made: list[str]
    """on the Prefect server"""
    schedules: list[str]
    """that the Prefect server had lost, and has again"""
    not_made: dict[str, str]
    """those of them that it does not take, and why"""
    done: list[str]
    """all of it in words, a line each"""


_EXAMPLE = InitAnswer(
    repository_id=UUID("7e0c6b1e-31c7-4ac6-9a7e-3d3f6f1d2a55"),
    migrations=[],
    created=False,
    made=["deployment backup/conversations"],
    schedules=["nightly"],
    not_made={},
    done=["The catalog's tables are up to date.", "Made the schedule nightly again."],
).model_dump(mode="json")

router = APIRouter(prefix=PREFIX, tags=["health"], responses=CLOSED)


@router.post(
    "/init",
    summary="Make what is missing",
    dependencies=[Security(caller, scopes=[Scope.ADMIN])],
    openapi_extra=described(InitBody, {}),
    responses={
        200: {"content": {"application/json": {"example": _EXAMPLE}}},
        **documented(MalformedBody, "The body is not JSON in UTF-8."),
        **documented(BodyTooLarge, f"The body is larger than {MAX_BODY_BYTES} bytes."),
        **documented(UnsupportedMediaType, "Send `Content-Type: application/json`."),
        **documented(OptionsError, "force: Extra inputs are not permitted."),
        **documented(BusyError, "Another init is under way."),
        **documented(CatalogError, "The catalog's role may not do this."),
        **documented(RepositoryError, "The store holds another repository."),
        **documented(StoreError, "The store gave an answer that cannot be understood."),
        **documented(StoreUnavailable, "The store cannot be reached: try again in a moment."),
        **documented(PrefectUnavailable, "The Prefect server cannot be reached."),
    },
)
def initialise(
    body: Annotated[object, Depends(json_body)],
    settings: Annotated[Settings, Depends(settings_of)],
    catalog: Annotated[Catalog, Depends(catalog_of)],
    actor: Annotated[Actor, Depends(actor_of)],
    request: Request,
) -> InitAnswer:
    """Apply migrations, make bucket and repository, deployments and automation on the Prefect
    server, and schedules that it lost: whatever is missing. May be repeated."""
    parsed(InitBody, body)
    with impatient():
        found = prepare(settings)
    request.app.state.repository = None  # it may be another one now
    with audited(catalog, actor, "init") as note:
        note.detail = " ".join(found.done)
    return InitAnswer(
        repository_id=found.report.repository_id,
        migrations=list(found.report.migrations),
        created=found.report.created,
        made=found.made,
        schedules=found.schedules.made,
        not_made=found.schedules.not_made,
        done=found.done,
    )
