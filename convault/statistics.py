"""How backups went: totals and distributions over the rows of the catalog. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from math import ceil
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from convault.catalog.base import BackupRecord, BackupStatus


class Spread(BaseModel):
    """A distribution: how many values, the one in the middle, the one that 95 of 100 do not
    exceed, the largest."""

    count: int
    median: float
    p95: float
    max: float


class Day(BaseModel):
    """What was begun on one day."""

    day: date
    completed: int = 0
    failed: int = 0
    stored_bytes: int = 0
    new_bytes: int = 0


class Statistics(BaseModel):
    """Sizes in bytes, times in seconds; distributions are of completed backups, and None where
    there is none."""

    total: int
    by_status: dict[str, int]
    success_rate: float | None
    """completed among those that are over, from 0 to 1"""
    by_format: dict[str, int]
    file_bytes: Spread | None
    """of the tar"""
    stored_bytes: Spread | None
    """that the parts take"""
    new_bytes: Spread | None
    """that had to be written to the store"""
    rows: Spread | None
    ratio: Spread | None
    """plain bytes to stored ones"""
    duration: Spread | None
    failed_duration: Spread | None
    """until a run failed"""
    rows_per_second: Spread | None
    bytes_per_second: Spread | None
    """plain bytes"""
    steps: dict[str, Spread]
    """seconds of each step, summed over the workers"""
    by_day: list[Day]


def summarised(records: Sequence[BackupRecord], zone: ZoneInfo) -> Statistics:
    """Of these rows; days are those of `zone`."""
    done = [record for record in records if record.status is BackupStatus.COMPLETED]
    failed = [record for record in records if record.status is BackupStatus.FAILED]
    over = len(done) + len(failed)
    steps: dict[str, list[float]] = defaultdict(list)
    for record in done:
        for step, seconds in (_metrics(record).get("seconds") or {}).items():
            if step != "total":
                steps[step].append(float(seconds))
    return Statistics(
        total=len(records),
        by_status={
            status.value: sum(record.status is status for record in records)
            for status in BackupStatus
        },
        success_rate=len(done) / over if over else None,
        by_format=_counted(str(record.options.get("format", "json")) for record in records),
        file_bytes=spread(record.file_size for record in done),
        stored_bytes=spread(record.stored_bytes for record in done),
        new_bytes=spread(_metrics(record).get("new_bytes") for record in done),
        rows=spread(record.rows for record in done),
        ratio=spread(_metrics(record).get("ratio") for record in done),
        duration=spread(_seconds(record) for record in done),
        failed_duration=spread(_seconds(record) for record in failed),
        rows_per_second=spread(_rate(record, "rows") for record in done),
        bytes_per_second=spread(_rate(record, "plain_bytes") for record in done),
        steps={step: found for step in sorted(steps) if (found := spread(steps[step]))},
        by_day=_days(records, zone),
    )


def spread(values: Iterable[float | None]) -> Spread | None:
    """The distribution of those that are known; the 95th percentile is the nearest rank's."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    nearest = known[ceil(0.95 * len(known)) - 1]
    return Spread(count=len(known), median=median(known), p95=nearest, max=known[-1])


def _days(records: Iterable[BackupRecord], zone: ZoneInfo) -> list[Day]:
    days: dict[date, Day] = {}
    for record in records:
        at = record.created_at.astimezone(zone).date()
        day = days.setdefault(at, Day(day=at))
        if record.status is BackupStatus.COMPLETED:
            day.completed += 1
            day.stored_bytes += record.stored_bytes or 0
            day.new_bytes += int(_metrics(record).get("new_bytes") or 0)
        elif record.status is BackupStatus.FAILED:
            day.failed += 1
    return [days[day] for day in sorted(days)]


def _metrics(record: BackupRecord) -> dict[str, Any]:
    return record.metrics or {}


def _seconds(record: BackupRecord) -> float | None:
    seconds = (_metrics(record).get("seconds") or {}).get("total")
    return None if seconds is None else float(seconds)


def _rate(record: BackupRecord, unit: str) -> float | None:
    amount, seconds = _metrics(record).get(unit), _seconds(record)
    return None if amount is None or not seconds else float(amount) / seconds


def _counted(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        counts[name] += 1
    return dict(sorted(counts.items()))
