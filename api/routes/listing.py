"""`GET /api/communication/backups` and `GET .../{id}`: which backups there are."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response, Security
from fastapi import Query as Parameter
from pydantic import BaseModel

from api.auth import caller
from api.caller import Caller, Scope
from api.links import DEFAULT_SECONDS, MAX_SECONDS, Links, now
from api.moment import Moment, in_utc
from api.problems import InvalidRequest, documented
from api.routes.context import CLOSED, PREFIX, actor_of, catalog_of, links_of, path_of
from api.routes.examples import COMPLETED, RECORD
from api.shared import Shared
from convault.catalog.base import BackupRecord, BackupStatus, Catalog, Query
from convault.errors import NotFoundError
from convault.models import BackupFormat
from convault.retention.audited import Actor, audited
from deployments.progress import progress_of


class Listed(BaseModel):
    """One page of the backups."""

    backups: list[BackupRecord]
    total: int
    """on all pages"""
    next_cursor: str | None = None
    """what `cursor` is to be for the next page; null on the last one"""


class Backup(BackupRecord):
    """A row of the table `backups`, with a link to its tar."""

    url: str | None = None
    """of the tar, with a signature that holds until `expires_at`, for callers who may download"""
    progress: float | None = None
    """how far the run is, in per cent, as Prefect knows it"""


router = APIRouter(prefix=PREFIX, tags=["backups"], responses=CLOSED)


@router.get(
    "",
    summary="List backups",
    response_model=Listed,
    dependencies=[Security(caller, scopes=[Scope.LIST])],
    responses={
        200: {
            "content": {
                "application/json": {
                    "example": {"backups": [RECORD], "total": 1, "next_cursor": None}
                }
            },
            "headers": {"ETag": {"schema": {"type": "string"}}},
        },
        304: {"description": "Nothing changed since the answer with that ETag"},
        **documented(InvalidRequest, "limit: Input should be less than or equal to 1000."),
    },
)
async def list_backups(
    catalog: Annotated[Catalog, Depends(catalog_of)],
    request: Request,
    limit: Annotated[int, Parameter(ge=1, le=1000, description="backups at most")] = 100,
    cursor: Annotated[
        str | None, Parameter(max_length=200, description="`next_cursor` of the page before")
    ] = None,
    status: Annotated[BackupStatus | None, Parameter()] = None,
    format: Annotated[BackupFormat | None, Parameter()] = None,
    created_from: Annotated[
        Moment | None, Parameter(alias="from", description="created then or later")
    ] = None,
    created_to: Annotated[
        Moment | None, Parameter(alias="to", description="created before")
    ] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The rows of the table `backups`, newest first."""
    query = Query(
        status=status,
        format=format.value if format else None,
        created_from=created_from,
        created_to=created_to,
        after=None if cursor is None else _read(cursor),
        limit=limit,
    )
    shared: Shared[Query, tuple[bytes, str]] = request.app.state.listed
    body, etag = await shared.get(query, lambda: _listed(catalog, query))
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and _holds(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@router.get(
    "/{backup_id}",
    summary="One backup, with a fresh link to its tar",
    responses={
        200: {"content": {"application/json": {"example": COMPLETED}}},
        **documented(NotFoundError, "There is no backup with that id."),
        **documented(InvalidRequest, "expires_in: Input should be less than or equal to 86400."),
    },
)
def get_backup(
    backup_id: UUID,
    catalog: Annotated[Catalog, Depends(catalog_of)],
    links: Annotated[Links, Depends(links_of)],
    who: Annotated[Caller, Security(caller, scopes=[Scope.LIST])],
    actor: Annotated[Actor, Depends(actor_of)],
    response: Response,
    expires_in: Annotated[
        int, Parameter(ge=1, le=MAX_SECONDS, description="seconds that the link holds")
    ] = DEFAULT_SECONDS,
) -> Backup:
    """The row; while a run works on it, how far it is; when it is complete, a link to its tar for
    whoever has the scope download, which is written into the audit."""
    response.headers["Cache-Control"] = "no-store"
    record = catalog.get(backup_id)
    found = record.model_dump()
    if record.status is BackupStatus.COMPLETED and who.may(Scope.DOWNLOAD):
        with audited(catalog, actor, "link", backup_id) as note:
            link = links.mint(backup_id, who, expires_in, now=now())
            note.detail = f"holds until {link.expires_at.isoformat()}"
        found["url"] = f"{path_of(backup_id)}/download?token={link.token}"
        found["expires_at"] = link.expires_at
    if record.status is BackupStatus.PROCESSING and record.flow_run_id is not None:
        found["progress"] = progress_of(record.flow_run_id)
    return Backup.model_validate(found)


def _listed(catalog: Catalog, query: Query) -> tuple[bytes, str]:
    """The answer, and its ETag."""
    page = catalog.page(query)
    last = page.records[-1] if page.more else None
    listed = Listed(
        backups=list(page.records),
        total=page.total,
        next_cursor=None if last is None else _written(last),
    )
    body = listed.model_dump_json().encode()
    return body, f'"{sha256(body).hexdigest()[:32]}"'


def _written(record: BackupRecord) -> str:
    """A cursor: the time in microseconds and the id of the last row of a page."""
    text = f"{record.created_at.astimezone(UTC).isoformat()} {record.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str) -> tuple[datetime, UUID]:
    """What `_written` wrote. InvalidRequest."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
        at, _, backup_id = text.partition(" ")
        time = datetime.fromisoformat(at)
        if time.tzinfo is None:
            raise ValueError("no zone")
        return in_utc(time), UUID(backup_id)
    except (ValueError, binascii.Error):
        raise InvalidRequest(
            "cursor: this is no cursor of this list. Send `next_cursor` of the page before, as it "
            "is, or none for the first page."
        ) from None


def _holds(if_none_match: str, etag: str) -> bool:
    tags: list[Any] = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags
