"""`GET /api/communication/backups/metrics`, and `/metrics` for Prometheus: how backups went."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Response, Security
from fastapi import Query as Parameter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from api.auth import caller
from api.caller import Scope
from api.moment import Moment
from api.problems import InvalidRequest, documented
from api.routes.context import CLOSED, PREFIX, catalog_of, settings_of
from api.routes.examples import COMPLETED, shown
from convault.catalog.base import BackupRecord, BackupStatus, Catalog, Query
from convault.settings import Settings
from convault.statistics import Statistics, summarised

_PAGE = 1000
_LISTER = [Security(caller, scopes=[Scope.LIST])]

router = APIRouter(tags=["metrics"], responses=CLOSED)


@router.get(
    f"{PREFIX}/metrics",
    summary="How backups went",
    dependencies=_LISTER,
    responses={
        **shown(200, summarised([BackupRecord.model_validate(COMPLETED)], ZoneInfo("UTC"))),
        **documented(InvalidRequest, "from: Input should have timezone info."),
    },
)
def metrics(
    catalog: Annotated[Catalog, Depends(catalog_of)],
    settings: Annotated[Settings, Depends(settings_of)],
    created_from: Annotated[
        Moment | None, Parameter(alias="from", description="created then or later")
    ] = None,
    created_to: Annotated[
        Moment | None, Parameter(alias="to", description="created before")
    ] = None,
) -> Statistics:
    """Totals, rates and distributions over all rows, or those of a span of time."""
    rows = _rows(catalog, created_from, created_to)
    return summarised(rows, settings.convault_timezone)


@router.get(
    "/metrics",
    summary="The same for Prometheus",
    dependencies=_LISTER,
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
def prometheus(
    catalog: Annotated[Catalog, Depends(catalog_of)],
    settings: Annotated[Settings, Depends(settings_of)],
) -> Response:
    """Gauges in Prometheus' text format; scrape it with `authorization` and a key's scope list."""
    rows = _rows(catalog, None, None)
    body = exposition(rows, summarised(rows, settings.convault_timezone))
    return Response(body, media_type=CONTENT_TYPE_LATEST)


def exposition(rows: list[BackupRecord], found: Statistics) -> bytes:
    """Prometheus' text of it."""
    registry = CollectorRegistry()
    backups = Gauge("convault_backups", "Backups by status", ["status"], registry=registry)
    for status, number in found.by_status.items():
        backups.labels(status).set(number)
    for name, about, record in (
        ("convault_last_success", "the newest completed backup", _newest(rows, True)),
        ("convault_last_failure", "the newest failed backup", _newest(rows, False)),
    ):
        if record is not None:
            at = Gauge(f"{name}_timestamp_seconds", f"When {about} was made", registry=registry)
            at.set(record.created_at.timestamp())
    last = _newest(rows, True)
    known: list[tuple[str, str, float | None]] = (
        []
        if last is None
        else [
            ("rows", "Rows", last.rows),
            ("file_bytes", "Bytes of the tar", last.file_size),
            ("stored_bytes", "Bytes in the store", last.stored_bytes),
            ("duration_seconds", "Seconds it took", _duration(last)),
        ]
    )
    for name, about, value in known:
        if value is not None:
            gauge = Gauge(
                f"convault_last_{name}", f"{about} of the newest completed backup",
                registry=registry,
            )  # fmt: skip
            gauge.set(value)
    return generate_latest(registry)


def _rows(
    catalog: Catalog, created_from: datetime | None, created_to: datetime | None
) -> list[BackupRecord]:
    """All of them, page by page."""
    rows: list[BackupRecord] = []
    query = Query(created_from=created_from, created_to=created_to, limit=_PAGE)
    while True:
        page = catalog.page(query)
        rows += page.records
        if not page.more:
            return rows
        after = (rows[-1].created_at, rows[-1].id)
        query = query.model_copy(update={"after": after})


def _newest(rows: list[BackupRecord], good: bool) -> BackupRecord | None:
    status = BackupStatus.COMPLETED if good else BackupStatus.FAILED
    return next((row for row in rows if row.status is status), None)


def _duration(record: BackupRecord) -> float | None:
    total = ((record.metrics or {}).get("seconds") or {}).get("total")
    return None if total is None else float(total)
