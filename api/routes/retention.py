"""`/api/communication/backups`: clean up, and see who did what."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Security
from pydantic import BaseModel, ConfigDict, Field

from api.auth import caller
from api.body import json_body
from api.caller import Scope
from api.problems import (
    BodyTooLarge,
    InvalidRequest,
    MalformedBody,
    UnsupportedMediaType,
    documented,
)
from api.routes.context import CLOSED, PREFIX, STORED, actor_of, catalog_of, settings_of
from api.routes.examples import RECORD, shown
from convault.catalog.base import AuditEntry, Catalog
from convault.errors import BusyError, PolicyError
from convault.installation import open_installation
from convault.retention import cleaning
from convault.retention.audited import Actor
from convault.retention.configured import policy_of
from convault.settings import Settings

router = APIRouter(prefix=PREFIX, tags=["retention"], responses={**CLOSED, **STORED})


class DecisionAnswer(BaseModel):
    """What became of one backup, and why."""

    id: UUID
    status: str
    taken_at: str
    group: str
    goes: bool
    reason: str


class CleanupAnswer(BaseModel):
    """What a clean-up decided; with `dryRun` nothing was changed."""

    model_config = ConfigDict(populate_by_name=True)

    at: str
    dry_run: bool = Field(alias="dryRun")
    removed: list[UUID]
    """moved to the trash, or what would be"""
    decisions: list[DecisionAnswer]


class CleanupRequest(BaseModel):
    """Rules, and whether they are only to be tried."""

    dry_run: bool
    rules: dict[str, Any]


def requested_cleanup(body: Annotated[object, Depends(json_body)]) -> CleanupRequest:
    """PolicyError for what is no object of rules."""
    if not isinstance(body, dict):
        raise PolicyError('The body must be an object of rules, such as {"olderThan": "90d"}.')
    rules = dict(body)
    said = [rules.pop(name) for name in ("dryRun", "dry_run") if name in rules]
    if len(said) == 2:
        raise PolicyError("dryRun and dry_run are one thing: say it once.")
    dry_run = said[0] if said else False
    if not isinstance(dry_run, bool):
        raise PolicyError("dryRun must be true or false.")
    for name, value in rules.items():
        if value == []:  # where the command line has one, it means that nothing was said
            raise PolicyError(f"{name} is an empty list: name something, or leave it out.")
    return CleanupRequest(dry_run=dry_run, rules=rules)


_RULES: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "Rules; without any, those of CONVAULT_KEEP_*. Names may be in snake_case.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "examples": {
                    "original": {
                        "value": {"olderThan": 90, "status": "failed", "keepCount": 5,
                                  "dryRun": True}
                    },
                    "calendar": {"value": {"keepDaily": 7, "keepWeekly": 4, "keepAtMost": "1y"}},
                },
            }
        },
    }
}  # fmt: skip


_CLEANED = {
    "at": "2026-01-31T06:00:00+00:00",
    "dryRun": True,
    "removed": [RECORD["id"]],
    "decisions": [
        {
            "id": RECORD["id"],
            "status": "completed",
            "taken_at": "2025-10-01T02:00:00+00:00",
            "group": "all of conversations",
            "goes": True,
            "reason": "no rule keeps it",
        }
    ],
}
_ENTRY = {
    "at": "2026-01-31T06:00:00Z",
    "actor": "dashboard",
    "origin": "api 192.0.2.7",
    "action": "delete",
    "backup_id": RECORD["id"],
    "result": "done",
    "detail": "",
}


@router.post(
    "/cleanup",
    summary="Move what no rule keeps to the trash",
    dependencies=[Security(caller, scopes=[Scope.DELETE])],
    openapi_extra=_RULES,
    responses={
        **shown(200, _CLEANED),
        **documented(MalformedBody, "The body is not JSON in UTF-8."),
        **documented(BodyTooLarge, "The body is larger than 1048576 bytes."),
        **documented(UnsupportedMediaType, "Send `Content-Type: application/json`."),
        **documented(PolicyError, "This policy cannot be used: it says nothing."),
        **documented(BusyError, "A backup is at work, so nothing can be removed now."),
    },
)
def cleanup(
    request: Annotated[CleanupRequest, Depends(requested_cleanup)],
    settings: Annotated[Settings, Depends(settings_of)],
    actor: Annotated[Actor, Depends(actor_of)],
) -> CleanupAnswer:
    """At most a third of a group's good backups go at once. Objects stay until a sweep, which the
    deployment `cleanup/daily` makes."""
    policy = policy_of(settings, request.rules)
    installation = open_installation(settings)
    repository, catalog = installation.repository, installation.catalog
    found = cleaning.plan(
        repository, catalog, policy, settings.convault_timezone,
        unattended=True, dry_run=request.dry_run,
    )  # fmt: skip
    if not request.dry_run:
        found = cleaning.apply(repository, catalog, found, actor)
    return CleanupAnswer.model_validate(found.to_json())


@router.get(
    "/audit",
    summary="Who did what, newest first",
    dependencies=[Security(caller, scopes=[Scope.ADMIN])],
    responses={
        **shown(200, [_ENTRY]),
        **documented(InvalidRequest, "limit: Input should be less than or equal to 1000."),
    },
)
def audit(
    catalog: Annotated[Catalog, Depends(catalog_of)],
    limit: Annotated[int, Query(ge=1, le=1000, description="entries at most")] = 100,
) -> list[AuditEntry]:
    """Deletions, clean-ups with the reason of each decision, pins, sweeps, adoptions."""
    return list(catalog.audited(limit))
