"""Totals and distributions, against figures by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import uuid4
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from convault.catalog.base import BackupRecord, BackupStatus
from convault.statistics import spread, summarised

START = datetime(2026, 1, 31, 1, 30, tzinfo=UTC)


def made(
    status: BackupStatus, at: datetime, seconds: float | None, **metrics: object
) -> BackupRecord:
    told = {**metrics, "seconds": {"fetch": 1.0, "total": seconds}} if seconds else None
    return BackupRecord(
        id=uuid4(), status=status, options={"format": "csv"} if seconds == 4 else {},
        created_at=at, updated_at=at, rows=100 if seconds else None, stored_bytes=10,
        file_size=1000 if status is BackupStatus.COMPLETED else None, metrics=told,
    )  # fmt: skip


def test_of_five_backups() -> None:
    rows = [
        made(BackupStatus.COMPLETED, START, 2, rows=100, plain_bytes=4000, ratio=4.0, new_bytes=7),
        made(BackupStatus.COMPLETED, START, 4, rows=100, plain_bytes=4000, ratio=2.0, new_bytes=0),
        made(BackupStatus.FAILED, START + timedelta(hours=3), 9, rows=3),
        made(BackupStatus.FAILED, START + timedelta(hours=3), None),
        made(BackupStatus.PENDING, START + timedelta(hours=3), None),
    ]
    found = summarised(rows, ZoneInfo("America/Sao_Paulo"))
    assert (found.total, found.success_rate) == (5, 0.5)
    assert found.by_status["completed"] == found.by_status["failed"] == 2
    assert found.by_format == {"csv": 1, "json": 4}
    assert found.duration is not None
    assert found.duration.model_dump() == {"count": 2, "median": 3.0, "p95": 4.0, "max": 4.0}
    assert found.failed_duration is not None
    assert (found.failed_duration.count, found.failed_duration.max) == (1, 9.0)
    assert found.rows_per_second is not None
    assert (found.rows_per_second.median, found.rows_per_second.max) == (37.5, 50.0)
    assert found.new_bytes is not None
    assert found.new_bytes.median == 3.5
    assert set(found.steps) == {"fetch"}
    # 01:30 UTC is the evening before there.
    assert [(str(day.day), day.completed, day.failed, day.new_bytes) for day in found.by_day] == [
        ("2026-01-30", 2, 0, 7),
        ("2026-01-31", 0, 2, 0),
    ]


def test_of_none() -> None:
    found = summarised([], ZoneInfo("UTC"))
    assert (found.total, found.success_rate, found.duration, found.by_day) == (0, None, None, [])


@given(st.lists(st.floats(0, 1e12), min_size=1))
def test_a_spread_is_of_its_values(values: list[float]) -> None:
    found = spread([None, *values])
    assert found is not None
    assert (found.count, found.max) == (len(values), max(values))
    assert found.median == median(values)
    assert sum(value <= found.p95 for value in values) >= 0.95 * len(values)
    assert found.p95 in values
