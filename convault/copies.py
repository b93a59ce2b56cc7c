"""How far the copies of the repository are behind, and whether one holds what it may not.

Pure: from what the catalog knows, without asking a store.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from convault.catalog.base import BackupRecord, BackupStatus, CopyRecord

LATE = timedelta(hours=26)
"""that a completed backup may be missing from a copy: a day, and what a nightly run takes"""


class CopyState(StrEnum):
    """How a copy is, the worst first."""

    NEVER = "never"
    """no run of it has ever come to its end"""
    HOLDING = "holding"
    """it has what was deleted or purged from the first repository"""
    LAGGING = "lagging"
    """a backup has been missing from it for too long"""
    FAILED = "failed"
    """its last run failed, and nothing is late yet"""
    CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Lag:
    """What is known of one copy at one moment."""

    name: str
    url: str
    state: CopyState
    missing: tuple[UUID, ...]
    """completed backups that it does not hold, oldest first"""
    holding: tuple[UUID, ...]
    """backups that it has, and that were purged, or deleted where deletions follow"""
    seconds: float
    """for how long the oldest of `missing` has been complete; 0 when nothing is missing"""
    newest: datetime | None
    """when the newest backup that it holds was taken"""
    succeeded_at: datetime | None
    """when a run of it last did all that there was to do"""
    age: float | None
    """seconds since then"""
    error: str | None

    @property
    def red(self) -> bool:
        """Whether somebody has to do something."""
        return self.state in {CopyState.NEVER, CopyState.HOLDING, CopyState.LAGGING}

    @property
    def in_words(self) -> str:
        """A sentence for people, without its full stop."""
        if self.state is CopyState.NEVER:
            why = f": {self.error}" if self.error else ""
            return f"the copy {self.name} was never complete{why}"
        if self.state is CopyState.HOLDING:
            return (
                f"the copy {self.name} still holds {len(self.holding)} backups that were deleted "
                "or purged; its next run removes them"
            )
        if self.missing:
            return (
                f"the copy {self.name} lacks {len(self.missing)} backups, the oldest for "
                f"{self.seconds / 3600:.1f} h"
            )
        if self.error:
            return f"the last run of the copy {self.name} failed: {self.error}"
        since = "" if self.age is None else f", since {self.age / 3600:.1f} h ago"
        return f"the copy {self.name} holds every backup{since}"

    def to_json(self) -> dict[str, Any]:
        """For programs. Times in seconds."""
        return {
            "name": self.name,
            "url": self.url,
            "state": self.state.value,
            "red": self.red,
            "missing": [str(one) for one in self.missing],
            "holding": [str(one) for one in self.holding],
            "lag_seconds": round(self.seconds),
            "newest_at": None if self.newest is None else self.newest.isoformat(),
            "succeeded_at": None if self.succeeded_at is None else self.succeeded_at.isoformat(),
            "age_seconds": None if self.age is None else round(self.age),
            "error": self.error,
        }


def lag(
    copy: CopyRecord, rows: Iterable[BackupRecord], now: datetime, *, late: timedelta = LATE
) -> Lag:
    """How the copy is at `now`, the database's time; `rows` are all of the catalog's, deleted ones
    among them."""
    missing: list[tuple[datetime, UUID]] = []
    holding: list[UUID] = []
    newest: datetime | None = None
    for row in rows:
        if row.repository_id != copy.repository_id:
            continue
        there = copy.contents.get(row.id)
        state = None if there is None else there.state
        if row.status is BackupStatus.COMPLETED:
            whole = state == "held" and there is not None and there.revision >= row.revision
            if whole or state == "passed over":
                newest = max(newest or row.created_at, row.created_at) if whole else newest
            else:
                missing.append((row.completed_at or row.created_at, row.id))
        elif row.status is BackupStatus.DELETED and state is not None:
            purged = row.purged_at is not None and state != "passed over"
            if purged or (copy.mirror and state in {"held", "arriving"}):
                holding.append(row.id)
    missing.sort()
    seconds = max(0.0, (now - missing[0][0]).total_seconds()) if missing else 0.0
    done = copy.succeeded_at
    return Lag(
        copy.name,
        copy.url,
        _state(copy, holding=bool(holding), seconds=seconds, late=late),
        tuple(backup_id for _, backup_id in missing),
        tuple(sorted(holding)),
        seconds,
        newest,
        done,
        None if done is None else max(0.0, (now - done).total_seconds()),
        copy.error,
    )


def lags(
    names: Iterable[str], copies: Iterable[CopyRecord], rows: Iterable[BackupRecord],
    now: datetime, repository_id: UUID, *, late: timedelta = LATE,
) -> list[Lag]:  # fmt: skip
    """The same for every store that CONVAULT_STORE_<NAME>_URL names (`settings.store_names`): one
    that no run has been for yet is never complete."""
    known, listed = {copy.name: copy for copy in copies}, list(rows)
    found = []
    for name in names:
        blank = CopyRecord(id=repository_id, repository_id=repository_id, name=name, url="")
        found.append(lag(known.get(name, blank), listed, now, late=late))
    return found


def remaining(copies: Iterable[CopyRecord], backup_id: UUID) -> list[str]:
    """Names of the copies that have something of the backup, as far as is known."""
    return [
        copy.name
        for copy in copies
        if (there := copy.contents.get(backup_id)) and there.state != "passed over"
    ]


def _state(copy: CopyRecord, *, holding: bool, seconds: float, late: timedelta) -> CopyState:
    if holding:
        return CopyState.HOLDING
    if copy.succeeded_at is None:
        return CopyState.NEVER
    if seconds > late.total_seconds():
        return CopyState.LAGGING
    return CopyState.FAILED if copy.error else CopyState.CURRENT
