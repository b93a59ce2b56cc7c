"""When backups are made: a word or a cron line, in a time zone. Prefect keeps the time.

They are also written into the catalog's `backup_schedules`: those of a Prefect server that was lost
are made again from there, also the intervals and recurrence rules that Prefect's UI makes.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ConfigDict, Field

from convault.errors import OptionsError
from convault.interval import Interval

WORDS = {"daily": "0 2 * * *", "weekly": "0 3 * * 0", "monthly": "0 4 1 * *"}
"""02:00; Sunday 03:00; 04:00 on the 1st"""
MAX_NAME = 60
MAX_LINE = 200
"""characters of a cron line"""
BOTH_DAYS = " day_or=false"
"""behind a cron line that is due only on days which both of its fields of days mean: Prefect's own,
which no cron line says"""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAMESPACE = UUID("b5f0d3c2-7b0f-5d0a-8d57-4c3c2e9b1a64")
"""of the ids of schedules; any fixed UUID would do"""


class BackupSchedule(BaseModel):
    """A row of `backup_schedules`."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    name: str
    """the slug of the schedule on the Prefect server"""
    schedule: str
    """`daily`, `weekly`, `monthly` or a cron line, which may have BOTH_DAYS behind it; of what
    Prefect's UI made also an interval (`convault.interval`), or a recurrence rule of RFC 5545 word
    for word as Prefect has it"""
    timezone: str = "UTC"
    """IANA name"""
    options: dict[str, Any] = Field(default_factory=dict)
    is_active: bool = True
    last_run_at: datetime | None = None
    next_run_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def cron(self) -> str | None:
        """The cron line; None where only Prefect says when, and for an interval."""
        line = WORDS.get(self.schedule, self.schedule)
        return line if len(line.split(" ")) == 5 and not self.is_rule else None

    @property
    def interval(self) -> Interval | None:
        """The interval; None where it is none."""
        return Interval.read(self.schedule)

    @property
    def is_rule(self) -> bool:
        """Whether it can only be a recurrence rule: no word, cron line or interval has these."""
        line = self.schedule.removesuffix(BOTH_DAYS)
        return self.interval is None and any(sign in line for sign in "=:")

    @property
    def shifts(self) -> timedelta:
        """By how much its time may be off where clocks change: Prefect counts whole days now by the
        clock, now by hours."""
        days = self.interval is not None and self.interval.every >= timedelta(days=1)
        return timedelta(hours=1 if days else 0)

    def due_after(self, now: datetime) -> datetime | None:
        """When it comes due next; None where it is switched off, comes due never, or Prefect alone
        understands it."""
        if not self.is_active:
            return None
        if self.interval is not None:
            found = self.interval.after(now)
        else:
            found = self._slot(now, reverse=False)
        return None if found is None else found.astimezone(UTC)

    def due_before(self, moment: datetime) -> datetime | None:
        """When it was due last, at `moment` or before, in its zone where that is known; None where
        nobody can tell. Of what Prefect alone understands it is known when Prefect was seen to plan
        its next run."""
        if self.interval is not None:
            found = self.interval.before(moment)
        else:
            found = self._slot(moment + timedelta(seconds=1), reverse=True)
            if found is None and self.next_run_at is not None and self.next_run_at <= moment:
                found = self.next_run_at
        try:
            return None if found is None else found.astimezone(ZoneInfo(self.timezone))
        except (KeyError, ValueError, OSError, OverflowError):
            return found

    def _slot(self, moment: datetime, *, reverse: bool) -> datetime | None:
        """The cron line's next time after `moment`, or its last one before it."""
        if self.cron is None:
            return None
        try:
            local = moment.astimezone(ZoneInfo(self.timezone))
            return next(CronSim(self.cron, local, reverse=reverse), None)
        except (CronSimError, KeyError, ValueError, OSError):
            return None


def id_of(name: str) -> UUID:
    """The id of the schedule of that name: the same on every Prefect server. A name that is an id
    already is that of one which Prefect's UI made, without a name."""
    with suppress(ValueError):
        if str(found := UUID(name)) == name:
            return found
    return uuid5(_NAMESPACE, name)


def require_name(name: str) -> str:
    """OptionsError unless it can be a schedule's name."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise OptionsError(
            f"name: a schedule's name has at most {MAX_NAME} small letters and digits, with single "
            "hyphens between, such as nightly-full."
        )
    return name


def require_schedule(schedule: str) -> str:
    """A word, or a cron line with single spaces between its five fields. OptionsError."""
    line = " ".join(schedule.split())
    if line in WORDS:
        return line
    wrong = OptionsError(
        "schedule: say daily (02:00), weekly (Sunday 03:00), monthly (04:00 on the 1st), or a cron "
        "line of five fields, such as `30 1 * * 1-5`, that comes due at some time."
    )
    if len(line) > MAX_LINE or len(line.split(" ")) != 5:
        raise wrong
    try:
        next(CronSim(line, datetime(2026, 1, 1)))
    except (CronSimError, StopIteration):
        raise wrong from None
    return line


def require_timezone(name: str) -> str:
    """OptionsError unless it is the name of an IANA time zone."""
    if name not in _zones():
        raise OptionsError("timezone: not an IANA time zone, such as America/Sao_Paulo or UTC.")
    return name


@cache
def _zones() -> frozenset[str]:
    """Those that a Prefect server takes. Of what else lies among them on a disk (`right/UTC`,
    `posixrules`) a schedule would keep it from planning any."""
    return frozenset(available_timezones() - {"Factory", "localtime"})


def word_for(cron: str) -> str:
    """`daily`, `weekly` or `monthly` where the line says that, else the line."""
    return next((word for word, line in WORDS.items() if line == cron), cron)
