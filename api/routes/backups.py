"""`POST /api/communication/backups`: ask for a backup."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4, uuid5

from fastapi import APIRouter, Depends, Header, Response, Security

from api.auth import caller
from api.body import MAX_BODY_BYTES, json_body
from api.caller import Caller, Scope
from api.patience import impatient
from api.problems import (
    BodyTooLarge,
    KeyReused,
    MalformedBody,
    TooManyWaiting,
    UnsupportedMediaType,
    documented,
)
from api.routes.context import CLOSED, PREFIX, actor_of, catalog_of, path_of, settings_of
from api.routes.examples import RECORD
from convault.catalog.base import BackupRecord, BackupStatus, Catalog, Query
from convault.encryption.recipients import require_recipient
from convault.errors import (
    CatalogError,
    CatalogUnavailable,
    ConvaultError,
    NotFoundError,
    OptionsError,
    RecipientMissing,
    SourceError,
)
from convault.files.wanted import files_wanted
from convault.installation import source_of
from convault.models import BackupOptions
from convault.retention.audited import Actor, audited
from convault.settings import Settings
from deployments import start_backup

MAX_WAITING = 10
"""backups of one caller that wait for their run"""
_NAMESPACE = UUID("8d7a1f0e-8f1c-5b0a-9a53-2b6f2f0c7d11")
"""of the ids that come from an Idempotency-Key; any fixed UUID would do"""

_counting = threading.Lock()
"""between counting a caller's rows and adding one: who asks twenty times at once gets ten"""
_log = logging.getLogger("convault.api")


def requested_options(body: Annotated[object, Depends(json_body)]) -> BackupOptions:
    """The options that the body asks for. OptionsError names the fields that are wrong."""
    return BackupOptions.parse(body)


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

router = APIRouter(prefix=PREFIX, tags=["backups"], responses=CLOSED)


@router.post(
    "",
    status_code=202,
    summary="Start a backup",
    openapi_extra=_OPTIONS_BODY,
    responses={
        202: {
            "description": "The run is on its way; `Location` is the backup's own path",
            "content": {"application/json": {"example": RECORD}},
            "headers": {"Location": {"schema": {"type": "string"}}},
        },
        **documented(MalformedBody, "The body is not JSON in UTF-8."),
        **documented(BodyTooLarge, f"The body is larger than {MAX_BODY_BYTES} bytes."),
        **documented(UnsupportedMediaType, "Send `Content-Type: application/json`."),
        **documented(RecipientMissing, "Nothing was backed up: earlier backups are encrypted."),
        **documented(TooManyWaiting, f"{MAX_WAITING} of your backups are waiting already."),
        **documented(SourceError, "The source has no table of messages."),
        **documented(OptionsError, "compressionLevel: Input should be less than or equal to 22."),
    },
)
def create_backup(
    who: Annotated[Caller, Security(caller, scopes=[Scope.OPERATE])],
    options: Annotated[BackupOptions, Depends(requested_options)],
    catalog: Annotated[Catalog, Depends(catalog_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    actor: Annotated[Actor, Depends(actor_of)],
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="the same key of the same caller gives the same backup, whatever comes "
            "between: send one where a request may be sent twice",
        ),
    ] = None,
) -> BackupRecord:
    """Ask the source whether what is asked for can be, and whether there is somebody to encrypt it
    to, write the row as `pending`, hand the run to Prefect, and answer without waiting for it."""
    repository_id = _repository_id(catalog)
    backup_id = uuid4()
    there: BackupRecord | None = None
    if idempotency_key is not None:
        backup_id = uuid5(_NAMESPACE, f"{repository_id}\n{who.name}\n{idempotency_key}")
        there = _asked_before(catalog, backup_id, options)
        if there is not None and not _is_to_be_started(there):
            response.headers["Location"] = path_of(there.id)
            return there
    if there is None:
        _require_room(catalog, who)
        source_of(settings, options).check()
        files_wanted(settings, options)
        require_recipient(settings.convault_encryption, catalog)
    with audited(catalog, actor, "backup", backup_id):
        row = there or _add_row(catalog, repository_id, backup_id, options, who)
        _require_same(row, options)  # another request with the key may have been faster
        record = _start(catalog, row, options) if _is_to_be_started(row) else row
    response.headers["Location"] = path_of(record.id)
    return record


def _asked_before(catalog: Catalog, backup_id: UUID, options: BackupOptions) -> BackupRecord | None:
    """The row that the same Idempotency-Key made, if there is one. KeyReused."""
    try:
        there = catalog.get(backup_id)
    except NotFoundError:
        return None
    _require_same(there, options)
    return there


def _require_same(there: BackupRecord, options: BackupOptions) -> None:
    """KeyReused."""
    if there.options != options.to_json():
        raise KeyReused(
            f"This Idempotency-Key asked for backup {there.id} with other options. Use a key of "
            "its own for each backup.",
            backup=there.id,
        )


def _is_to_be_started(row: BackupRecord) -> bool:
    """Whether nobody handed its run over yet; whoever does so too starts no second one."""
    return row.status is BackupStatus.PENDING and row.flow_run_id is None


def _require_room(catalog: Catalog, who: Caller) -> None:
    """TooManyWaiting."""
    waiting = catalog.page(Query(status=BackupStatus.PENDING, requested_by=who.name, limit=1)).total
    if waiting >= MAX_WAITING:
        raise TooManyWaiting(
            f"{waiting} backups that you asked for are waiting for their run. Wait until one has "
            "begun, or cancel some."
        )


def _repository_id(catalog: Catalog) -> UUID:
    repository_id = catalog.repository_id()
    if repository_id is None:
        raise CatalogError("The catalog knows no repository yet: run `convault init`.")
    return repository_id


def _add_row(
    catalog: Catalog, repository_id: UUID, backup_id: UUID, options: BackupOptions, who: Caller
) -> BackupRecord:
    """The new row, or the one that another request with the same key made meanwhile.
    TooManyWaiting."""
    now = datetime.now(UTC)  # the database puts its own time in its place
    row = BackupRecord(
        id=backup_id,
        status=BackupStatus.PENDING,
        options=options.to_json(),
        repository_id=repository_id,
        requested_by=who.name,
        created_at=now,
        updated_at=now,
    )
    with _counting:
        _require_room(catalog, who)
        return catalog.add(row)


def _start(catalog: Catalog, record: BackupRecord, options: BackupOptions) -> BackupRecord:
    """Hand the run to Prefect; the row then names it, or says `failed` and why."""
    try:
        with impatient():
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
