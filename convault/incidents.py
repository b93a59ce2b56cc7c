"""What goes wrong from some moment on until it is over, and of which somebody is told.

An incident is durable (`backup_incidents`): however many look, and however often, somebody is told
once that it began and once that it is over. What is decided here is pure; `convault.noticing` tells
what is wrong, `convault.notify` tells somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

GIVE_UP = timedelta(days=1)
"""after the end of an incident, whoever could not be told of it is left in peace"""
_LONGEST_WAIT = 3600.0
"""seconds between two tries to tell"""


class Kind(StrEnum):
    """What can be wrong."""

    FAILED = "backup-failed"
    """failed, or crashed: the last run of a kind of backups that is over"""
    QUOTA = "store-over-quota"
    OVERDUE = "backup-overdue"
    """a schedule whose time came, and nothing began"""
    AGED = "no-good-backup"
    """the last good backup is too old"""
    SHRUNK = "table-shrunk"
    COPY = "copy-lagging"
    VERIFY = "verify-failed"
    DRILL = "drill-failed"
    UNREACHABLE = "catalog-unreachable"
    """nothing can be looked at, and no backup be made"""


@dataclass(frozen=True, slots=True)
class Notice:
    """That something is wrong now. No text of it holds a secret, or anything about a person."""

    kind: Kind
    subject: str
    """of several of a kind, which one: one incident each"""
    title: str
    detail: str
    """what to do"""
    facts: dict[str, Any] = field(default_factory=dict)
    """what tells later that it is over"""


class Incident(BaseModel):
    """A row of `backup_incidents`."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    kind: str
    subject: str = ""
    title: str
    detail: str = ""
    facts: dict[str, Any] = Field(default_factory=dict)
    opened_at: datetime
    recovered_at: datetime | None = None
    told_at: datetime | None = None
    """since when every channel knows that it began"""
    recovery_told_at: datetime | None = None
    told_to: tuple[str, ...] = ()
    """channels that know how it stands now"""
    attempts: int = 0
    """to tell how it stands now"""
    problem: str = ""
    """why the last one failed"""
    retry_at: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it lasts."""
        return self.recovered_at is None

    def untold(self, now: datetime) -> bool:
        """Whether somebody is still to be told of it. Of one that came and went while nobody could
        be told, only for a day: then it is history."""
        if self.recovered_at is None:
            return self.told_at is None
        return self.recovery_told_at is None and now - self.recovered_at < GIVE_UP


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of the incidents."""

    begun: tuple[Notice, ...]
    over: tuple[Incident, ...]


def decide(
    incidents: Iterable[Incident],
    notices: Sequence[Notice],
    is_over: Callable[[Incident], bool],
) -> Changes:
    """Which notices are new, and which open incidents are over: those that nobody notices any more,
    and of which `is_over` says so (it may not know)."""
    going = {(i.kind, i.subject): i for i in incidents if i.is_open}
    noticed = {(str(n.kind), n.subject): n for n in notices}
    return Changes(
        tuple(notice for key, notice in noticed.items() if key not in going),
        tuple(i for key, i in going.items() if key not in noticed and is_over(i)),
    )


def wait_before(attempt: int) -> float:
    """Seconds until the next try, after so many: a minute, two, four, at most an hour."""
    return float(min(60.0 * 2 ** min(attempt, 10), _LONGEST_WAIT))
