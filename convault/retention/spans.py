"""Lengths of time as policies tell them: `36h`, `30d`, `8w`, `6m`, `2y`. Pure."""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field

_TEXT = re.compile(r"([0-9]{1,6})([hdwmy])")
_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "m": 365.25 / 12, "y": 365.25}


def _checked(value: object) -> object:
    """Numbers are days."""
    text = f"{value}d" if type(value) is int else value
    if isinstance(text, str) and re.fullmatch("[0-9]{1,6}", text):
        text = f"{text}d"
    if not isinstance(text, str) or not (found := _TEXT.fullmatch(text)) or int(found[1]) == 0:
        raise ValueError("not a length of time, such as 36h, 30d, 8w, 6m or 2y (a number is days)")
    if int(found[1]) * _DAYS[found[2]] > 365.25 * 200:
        raise ValueError("longer than two hundred years")
    return text


SpanText = Annotated[
    str, BeforeValidator(_checked), Field(json_schema_extra={"examples": ["30d", "6m"]})
]
"""As `Span.parse` reads it."""


@dataclass(frozen=True, slots=True)
class Span:
    """Hours are hours; days, weeks, months and years are of the calendar and its clocks."""

    number: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> Span:
        """From a `SpanText`."""
        return cls(int(text[:-1]), text[-1])

    @property
    def days(self) -> float:
        """About how long it is, to compare two."""
        return self.number * _DAYS[self.unit]

    def before(self, now: datetime, zone: ZoneInfo) -> datetime:
        """The moment that lies this long before `now`: at the same time of day in `zone`, on the
        month's last day where the month has no such day."""
        if self.unit == "h":
            return now - timedelta(hours=self.number)
        local = now.astimezone(zone)
        if self.unit in "dw":
            days = self.number * (7 if self.unit == "w" else 1)
            return (local - timedelta(days=days)).astimezone(UTC)
        months = self.number * (12 if self.unit == "y" else 1)
        year, month = divmod(local.year * 12 + local.month - 1 - months, 12)
        day = min(local.day, monthrange(year, month + 1)[1])
        return local.replace(year=year, month=month + 1, day=day).astimezone(UTC)
