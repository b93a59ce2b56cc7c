"""How old the last good backup is, and how far the catalog's clock is from this machine's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from convault.catalog import Catalog
from convault.catalog.base import BackupRecord, BackupStatus
from convault.doctor.clocks import Clock, judge
from convault.doctor.finding import Finding, amber, ok


def last_good(catalog: Catalog) -> BackupRecord | None:
    """The newest completed backup."""
    return next(iter(catalog.list(status=BackupStatus.COMPLETED, limit=1)), None)


def judge_age(last: BackupRecord | None, now: datetime, limit: timedelta | None) -> Finding:
    """`now` by the clock that wrote the row; `limit`: what is older, somebody should know of."""
    name = "last good backup"
    if last is None:
        return amber(name, "there is none yet", "Make one: POST a backup, or `convault backup`.")
    age = max(now - last.created_at, timedelta())
    found = f"{last.id} is {told(age)} old"
    if limit is not None and age > limit:
        return amber(
            name,
            f"{found}, and none should be older than {told(limit)}",
            "See why the ones since then failed, or were not started: GET .../scheduler/status.",
        )
    return ok(name, found)


def told(span: timedelta) -> str:
    """In words: the largest unit that fits, and the next smaller one."""
    minutes = int(span.total_seconds()) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def examine_clock(catalog: Catalog) -> Finding:
    """The database's clock says how old backups are and how long leases last."""
    before = datetime.now(UTC)
    there = catalog.now()
    half = (datetime.now(UTC) - before) / 2
    return judge("clock", "the catalog's database", Clock(there - (before + half), half))
