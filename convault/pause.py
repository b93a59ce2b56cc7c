"""When no backup begins (CONVAULT_PAUSE): hours of the day in which the application needs its
database and its line for itself. Pure.

Nothing that runs is stopped by it; CONVAULT_MAX_HOURS is for that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+)?"
    r"(?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Window:
    """Hours on some days of the week."""

    days: frozenset[int]
    """on which it begins, Monday is 0"""
    begin: time
    end: time
    """on the next day where it is not after `begin`"""

    def on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """From when to when it is, if it begins on that day. An hour that the clocks leave out ends
        or begins it where they go on."""
        after = day + timedelta(days=self.end <= self.begin)
        begin = datetime.combine(day, self.begin, zone)
        return begin.astimezone(UTC), datetime.combine(after, self.end, zone).astimezone(UTC)


def parse_pause(text: str) -> tuple[Window, ...]:
    """`08:00-18:00`, `mon-fri 08:00-18:00, sat 22:00-04:00`; '' for none. ValueError, also where
    no minute of the week is left for a backup."""
    windows = tuple(_window(part.strip().lower()) for part in text.split(",")) if text else ()
    minutes = {minute for window in windows for minute in _minutes(window)}
    if len(minutes) == 7 * 24 * 60:
        raise ValueError("it leaves no time for a backup")
    return windows


def paused_until(now: datetime, windows: Sequence[Window], zone: ZoneInfo) -> datetime | None:
    """When a backup may begin that is asked for `now`; None where it may at once."""
    until: datetime | None = None
    at = now.astimezone(UTC)
    for _ in range(7 * 24 * 60):
        end = _end_of(at, windows, zone)
        if end is None:
            return until
        at = until = end
    return until


def _end_of(at: datetime, windows: Sequence[Window], zone: ZoneInfo) -> datetime | None:
    today = at.astimezone(zone).date()
    ends = [
        end
        for window in windows
        for day in (today - timedelta(days=1), today)
        if day.weekday() in window.days
        for begin, end in [window.on(day, zone)]
        if begin <= at < end
    ]
    return max(ends, default=None)


def _window(text: str) -> Window:
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError("not written as 08:00-18:00 or mon-fri 08:00-18:00, with commas between")
    try:
        first = _DAYS.index(found["first"] or "mon")
        last = _DAYS.index(found["last"] or found["first"] or "sun")
        begin, end = time.fromisoformat(found["begin"]), time.fromisoformat(found["end"])
    except ValueError:
        raise ValueError(
            "its days are mon, tue, wed, thu, fri, sat, sun, its times 00:00 to 23:59"
        ) from None
    days = {(first + n) % 7 for n in range((last - first) % 7 + 1)}
    return Window(frozenset(days), begin, end)


def _minutes(window: Window) -> set[int]:
    """Of the week, without any daylight saving."""
    begin = window.begin.hour * 60 + window.begin.minute
    end = window.end.hour * 60 + window.end.minute
    length = (end - begin - 1) % (24 * 60) + 1
    return {
        (day * 24 * 60 + begin + n) % (7 * 24 * 60) for day in window.days for n in range(length)
    }
