"""An interval at which something is due, from an anchor on: how it is written down, and when.

The text is a repeating interval of ISO 8601, such as `R/2026-01-01T09:00:00+00:00/PT3600S`: the
anchor, and seconds. Prefect counts from the anchor in both directions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

_TEXT = re.compile(r"R/([^/]+)/PT([0-9]{1,14})(?:\.([0-9]{1,6}))?S", re.ASCII)


@dataclass(frozen=True, slots=True)
class Interval:
    """`every`, so that one time is `anchor`."""

    anchor: datetime
    """with an offset"""
    every: timedelta
    """more than nothing"""

    @classmethod
    def read(cls, text: str) -> Interval | None:
        """What the text says; None where it is none, or one that cannot be."""
        if (found := _TEXT.fullmatch(text)) is None:
            return None
        anchor, seconds, fraction = found.groups()
        try:
            every = timedelta(
                seconds=int(seconds), microseconds=int((fraction or "").ljust(6, "0"))
            )
            at = datetime.fromisoformat(anchor)
        except (ValueError, OverflowError):
            return None
        return cls(at, every) if every and at.tzinfo is not None else None

    def __str__(self) -> str:
        seconds, fraction = divmod(self.every, timedelta(seconds=1))
        rest = f".{fraction.microseconds:06d}".rstrip("0") if fraction else ""
        return f"R/{self.anchor.isoformat()}/PT{seconds}{rest}S"

    def before(self, moment: datetime) -> datetime | None:
        """The newest time that is not after `moment`; None beyond the calendar.

        Of whole days, where clocks change, Prefect may plan the time an hour before or after.
        """
        try:
            return self.anchor + (moment - self.anchor) // self.every * self.every
        except OverflowError:
            return None

    def after(self, moment: datetime) -> datetime | None:
        """The next time after `moment`; None beyond the calendar."""
        newest = self.before(moment)
        try:
            return None if newest is None else newest + self.every
        except OverflowError:
            return None
