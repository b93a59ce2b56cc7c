"""What `startDate` and `endDate` mean: two moments, each a day or a time, as instants. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from convault.errors import OptionsError

_DAY = r"\d{4}-\d{2}-\d{2}"
_TIME = r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?"
_MOMENT = re.compile(rf"{_DAY}([T ]{_TIME})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end), each in UTC or open."""

    start: datetime | None = None
    end: datetime | None = None


def parsed(text: str) -> date | datetime:
    """A day (`2026-01-31`), or a time of one (`2026-01-31T08:00`, also with seconds and with
    `Z` or an offset). ValueError for anything else."""
    wrong = ValueError(
        "must be a day, 2026-01-31, or a time, 2026-01-31T08:00 or 2026-01-31T08:00:00-03:00"
    )
    if not _MOMENT.fullmatch(text):
        raise wrong
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        raise wrong from None


def order_fault(start: str | None, end: str | None) -> str | None:
    """What is wrong with the order of the two, where that does not depend on a time zone; None
    when nothing is, or when it does."""
    if start is None or end is None:
        return None
    first, last = parsed(start), parsed(end)
    if not isinstance(last, datetime):
        if isinstance(first, datetime) and first.tzinfo is not None:
            return None
        before = last < (first.date() if isinstance(first, datetime) else first)
    else:
        begin = first if isinstance(first, datetime) else datetime.combine(first, time())
        if (begin.tzinfo is None) != (last.tzinfo is None):
            return None
        before = last < begin
    return "endDate is before startDate" if before else None


def instants(start: str | None, end: str | None, zone: ZoneInfo) -> Period:
    """The period in UTC. A bare day of `startDate` begins with its first moment in `zone`; one of
    `endDate` is included whole; a time without an offset is one of `zone`, and as `endDate` it is
    exclusive. OptionsError."""
    first = None if start is None else _instant("startDate", start, zone)
    last = None if end is None else _instant("endDate", end, zone, through=True)
    if first is not None and last is not None and last < first:
        raise OptionsError(
            "These options cannot be used: endDate is before startDate, so nothing could be "
            "selected. Swap them."
        )
    return Period(first, last)


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of `day` in `zone`, in UTC. Where clocks go forward at midnight, the day
    begins later than 00:00; where they go back over it, with the first of the two."""
    midnight = datetime.combine(day, time(), zone)
    first = midnight.astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return first
    before, after = midnight.replace(fold=1).astimezone(UTC), first
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).date() >= day:
            after = middle
        else:
            before = middle
    return before if before.astimezone(zone).date() >= day else after


def _instant(name: str, text: str, zone: ZoneInfo, *, through: bool = False) -> datetime:
    moment = parsed(text)
    try:
        if not isinstance(moment, datetime):
            return day_start(moment + timedelta(days=1) if through else moment, zone)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        return _local(name, moment, zone)
    except OverflowError:
        raise OptionsError(
            f"These options cannot be used: {name} lies at the end of the calendar. Leave it out."
        ) from None


def _local(name: str, moment: datetime, zone: ZoneInfo) -> datetime:
    """A time as the clocks of `zone` show it. OptionsError when they show it never, or twice."""
    early = moment.replace(tzinfo=zone, fold=0).astimezone(UTC)
    late = moment.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if early == late:
        return early
    how = "twice" if early < late else "never"
    raise OptionsError(
        f"These options cannot be used: {name} is a time that the clocks of {zone.key} show {how}, "
        f"as they are changed then. Give its offset, as in 2026-01-31T08:00:00-03:00."
    )
