"""A time in a request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def in_utc(moment: datetime) -> datetime:
    """The same moment. Postgres takes offsets of less than 16 hours, ISO 8601 of less than 24.
    ValueError where UTC's calendar does not reach."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies at the end of the calendar: leave it out") from None


Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""With an offset, such as `2026-01-31T08:00:00-03:00`."""
