"""`/api/communication/backups`: ask for a backup, list the backups."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Request, Response, Security
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from api.auth import caller
from api.body import MAX_BODY_BYTES, json_body
from api.caller import Scope
from api.problems import (
    BodyTooLarge,
    Forbidden,
    InvalidRequest,
    MalformedBody,
    Unauthorized,
    UnsupportedMediaType,
    documented,
)
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.errors import (
    CatalogError,
    CatalogUnavailable,
    ConvaultError,
    OptionsError,
    RecipientMissing,
)
from convault.files.wanted import files_wanted
from convault.installation import source_of
from convault.models import BackupOptions
from convault.recipients import require_recipient
from convault.settings import Settings
from deployments import start_backup

PREFIX = "/api/communication/backups"

_PATIENCE = {PREFECT_API_REQUEST_TIMEOUT: 10.0, PREFECT_CLIENT_MAX_RETRIES: 1}
"""Seconds per request, and retries, for a Prefect server that does not answer. Prefect's own are 60
and 5, right for a run that is under way; whoever waits for this answer has given up by then."""

_log = logging.getLogger("convault.api")


def catalog_of(request: Request) -> Catalog:
    """The application's catalog."""
    catalog: Catalog = request.app.state.catalog
    return catalog


def requested_options(body: Annotated[object, Depends(json_body)]) -> BackupOptions:
    """The options that the body asks for. OptionsError names the fields that are wrong."""
    return BackupOptions.parse(body)


def settings_of(request: Request) -> Settings:
    """The application's settings."""
    settings: Settings = request.app.state.settings
    return settings


_OPTIONS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "Options; names may also be in snake_case. No body means the defaults.",
        "content": {
            "application/json": {
                "schema": BackupOptions.model_json_schema(by_alias=True),
                "examples": {
                    "defaults": {"value": {}},
                    "smaller": {"value": {"format": "json", "compressionLevel": 9}},
                    "january": {"value": {"startDate": "2026-01-01", "endDate": "2026-01-31"}},
                    "sparing": {
                        "value": {
                            "excludeTables": ["audit_*"],
                            "excludeColumns": ["messages.raw_payload"],
                            "maskColumns": {"contacts.email": "hash", "contacts.phone": "null"},
                        }
                    },
                },
            }
        },
    }
}

_EXAMPLE = BackupRecord(
    id=UUID("0b6f4e0e-6a3e-4f39-9d4c-2f1c8b7f5a10"),
    status=BackupStatus.PENDING,
    options=BackupOptions().to_json(),
    created_at=datetime(2026, 1, 31, 3, 0, tzinfo=UTC),
    updated_at=datetime(2026, 1, 31, 3, 0, tzinfo=UTC),
).model_dump(mode="json")

_BOTH = {
    **documented(Unauthorized, "This needs the API key: send `Authorization: Bearer <key>`."),
    **documented(Forbidden, "This needs the scope operate. Use a key that has it."),
    **documented(CatalogUnavailable, "The catalog cannot be reached: try again in a moment."),
}

router = APIRouter(prefix=PREFIX, tags=["backups"], responses=_BOTH)


@router.post(
    "",
    status_code=202,
    dependencies=[Security(caller, scopes=[Scope.OPERATE])],
    summary="Start a backup",
    openapi_extra=_OPTIONS_BODY,
    responses={
        202: {
            "description": "The run is on its way; `Location` is the backup's own path",
            "content": {"application/json": {"example": _EXAMPLE}},
            "headers": {"Location": {"schema": {"type": "string"}}},
        },
        **documented(MalformedBody, "The body is not JSON in UTF-8."),
        **documented(BodyTooLarge, f"The body is larger than {MAX_BODY_BYTES} bytes."),
        **documented(UnsupportedMediaType, "Send `Content-Type: application/json`."),
        **documented(RecipientMissing, "Nothing was backed up: earlier backups are encrypted."),
        **documented(OptionsError, "compressionLevel: Input should be less than or equal to 22."),
    },
)
def create_backup(
    options: Annotated[BackupOptions, Depends(requested_options)],
    catalog: Annotated[Catalog, Depends(catalog_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    response: Response,
) -> BackupRecord:
    """Ask the source whether what is asked for can be, and whether there is somebody to encrypt it
    to, write the row as `pending`, hand the run to Prefect, and answer without waiting for it."""
    repository_id = _repository_id(catalog)
    source_of(settings, options).check()
    files_wanted(settings, options)
    require_recipient(settings.convault_encryption, catalog)
    record = _start(catalog, _add_row(catalog, repository_id, options), options)
    response.headers["Location"] = f"{PREFIX}/{record.id}"
    return record


@router.get(
    "",
    summary="List backups",
    dependencies=[Security(caller, scopes=[Scope.LIST])],
    responses={
        200: {"content": {"application/json": {"example": [_EXAMPLE]}}},
        **documented(InvalidRequest, "limit: Input should be less than or equal to 1000."),
    },
)
def list_backups(
    catalog: Annotated[Catalog, Depends(catalog_of)],
    limit: Annotated[int, Query(ge=1, le=1000, description="backups at most")] = 100,
) -> list[BackupRecord]:
    """The rows of the table `backups`, newest first."""
    return catalog.list(limit=limit)


def _repository_id(catalog: Catalog) -> UUID:
    repository_id = catalog.repository_id()
    if repository_id is None:
        raise CatalogError("The catalog knows no repository yet: run `convault init`.")
    return repository_id


def _add_row(catalog: Catalog, repository_id: UUID, options: BackupOptions) -> BackupRecord:
    now = datetime.now(UTC)  # the database puts its own time in its place
    return catalog.add(
        BackupRecord(
            id=uuid4(),
            status=BackupStatus.PENDING,
            options=options.to_json(),
            repository_id=repository_id,
            created_at=now,
            updated_at=now,
        )
    )


def _start(catalog: Catalog, record: BackupRecord, options: BackupOptions) -> BackupRecord:
    """Hand the run to Prefect; the row then names it, or says `failed` and why."""
    try:
        with temporary_settings(_PATIENCE):
            flow_run_id = start_backup(options, record.id)
    except Exception as error:
        reason = error.message if isinstance(error, ConvaultError) else "see the API's log"
        failed = {"status": BackupStatus.FAILED, "error": f"The run was not started: {reason}"}
        if catalog.replace(record, **failed) is None:
            # Somebody changed the row meanwhile: only Prefect's answer was lost, the run has begun.
            return catalog.get(record.id)
        raise
    try:
        return catalog.update(record.id, flow_run_id=flow_run_id)
    except CatalogUnavailable:
        # The run is on its way and will write the id itself: an error now would invite a second.
        _log.warning("backup %s was started; its row could not be updated yet", record.id)
        return record.model_copy(update={"flow_run_id": flow_run_id})
