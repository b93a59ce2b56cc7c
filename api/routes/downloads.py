"""`GET` and `HEAD /api/communication/backups/{id}/download`: the tar, composed while it streams."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi import Query as Parameter
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials

from api.auth import Guard, bearer_of, header_of
from api.byte_ranges import Unsatisfiable, unchanged, wanted
from api.caller import Scope
from api.links import Links, now
from api.problems import (
    Forbidden,
    InvalidRequest,
    RangeUnsatisfiable,
    TooManyAttempts,
    Unauthorized,
    documented,
)
from api.routes.context import PREFIX, catalog_of, links_of, repository_of
from convault.archive.composed import Archive
from convault.catalog.base import BackupStatus, Catalog
from convault.errors import (
    BusyError,
    CatalogUnavailable,
    IntegrityError,
    NotFoundError,
    StoreError,
    StoreUnavailable,
)
from convault.repository import Repository

MEDIA_TYPE = "application/x-tar"

router = APIRouter(prefix=PREFIX, tags=["backups"])


def downloader(
    backup_id: UUID,
    request: Request,
    links: Annotated[Links, Depends(links_of)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_of)],
    header: Annotated[str | None, Depends(header_of)],
    token: Annotated[
        str | None, Parameter(max_length=1000, description="of the link that `GET /{id}` gives")
    ] = None,
) -> str:
    """The name of the key or user that may download this backup: by a link, or by a key with the
    scope download. Forbidden, Unauthorized."""
    if token is not None:
        holder = links.holder(token, backup_id, now=now())
        if holder is None:
            raise Forbidden(
                "This link is over, is of another backup, or its key was taken away. Ask for the "
                f"backup again (`GET {PREFIX}/{backup_id}`): its `url` is a fresh link."
            )
        return holder
    guard: Guard = request.app.state.guard
    address = request.client.host if request.client else ""
    found = guard.caller(bearer.credentials if bearer else None, header, address)
    if not found.may(Scope.DOWNLOAD):
        raise Forbidden(f"This needs the scope {Scope.DOWNLOAD}. Use a key that has it.")
    return found.name


_ROUTE: dict[str, Any] = {
    "response_class": StreamingResponse,
    "dependencies": [Depends(downloader)],
    "responses": {
        200: {"description": "The tar", "content": {MEDIA_TYPE: {}}},
        206: {"description": "The range of it that was asked for", "content": {MEDIA_TYPE: {}}},
        **documented(Unauthorized, "This needs an API key, or the link that `GET /{id}` gives."),
        **documented(TooManyAttempts, "Too many wrong keys came from your address."),
        **documented(Forbidden, "This link is over, or of another backup."),
        **documented(NotFoundError, "There is no backup with that id."),
        **documented(BusyError, "The backup is not complete yet."),
        **documented(RangeUnsatisfiable, "The range begins behind the end of the tar."),
        **documented(InvalidRequest, "backup_id: Input should be a valid UUID."),
        **documented(IntegrityError, "The stored bytes of the backup are damaged."),
        **documented(StoreError, "The store gave an answer that cannot be understood."),
        **documented(StoreUnavailable, "The store cannot be reached: try again in a moment."),
        **documented(CatalogUnavailable, "The catalog cannot be reached: try again in a moment."),
    },
}


@router.head("/{backup_id}/download", summary="What a download would be", **_ROUTE)
@router.get("/{backup_id}/download", summary="Download the tar", **_ROUTE)
def download(
    backup_id: UUID,
    request: Request,
    catalog: Annotated[Catalog, Depends(catalog_of)],
    repository: Annotated[Repository, Depends(repository_of)],
    range_: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header(alias="If-Range")] = None,
) -> Response:
    """The tar, or the range of it that is asked for. A tar that cannot be completed is cut off, so
    that it never passes for a whole one."""
    record = catalog.get(backup_id)
    if record.status is not BackupStatus.COMPLETED:
        raise BusyError(
            f"Backup {backup_id} is {record.status}: there is a tar when it is completed.",
            backup=backup_id,
        )
    archive = Archive(repository, backup_id)
    etag = f'"{archive.etag}"'
    headers = {
        "Content-Disposition": f'attachment; filename="{archive.file_name}"',
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "Accept-Ranges": "bytes",
        "ETag": etag,
    }
    # A range has a meaning for GET alone (RFC 9110, 14.2).
    asked = range_ if request.method == "GET" and unchanged(if_range, etag) else None
    try:
        part = wanted(asked, archive.size)
    except Unsatisfiable:
        raise RangeUnsatisfiable(archive.size) from None
    start, stop = part or (0, archive.size)
    headers["Content-Length"] = str(stop - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{archive.size}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=MEDIA_TYPE)
    return StreamingResponse(
        _begun(archive.stream(start, stop)), status, headers, media_type=MEDIA_TYPE
    )


def _begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces, the first of them read now: what is wrong from the start is a problem, not
    an answer that breaks off."""
    first = next(pieces, b"")
    return chain([first], pieces)
