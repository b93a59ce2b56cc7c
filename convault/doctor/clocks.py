"""Whether the clocks of the database, of this machine and of the store agree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from convault.doctor.finding import Finding, amber, not_checked, ok, red

NOTABLE = timedelta(seconds=10)
"""what the API lets clocks differ by when it checks tokens"""
TIMEOUT = 10.0
"""seconds"""
TOO_MUCH = timedelta(minutes=5)
"""S3 refuses requests that are signed 15 minutes off; who waits so long has no clock at all"""


@dataclass(frozen=True, slots=True)
class Clock:
    """How far another clock is ahead of this machine's."""

    ahead: timedelta
    give_or_take: timedelta


def from_date_header(value: str | None, before: datetime, after: datetime) -> Clock | None:
    """What an HTTP answer that came between two moments says of its server's clock; the header
    counts whole seconds. None when it is missing or no date."""
    try:
        told = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    if told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    half = timedelta(seconds=0.5)
    return Clock(told + half - (before + (after - before) / 2), (after - before) / 2 + half)


def ask(url: str) -> Clock | None:
    """The clock of an HTTP server, which is asked without credentials; None when it does not tell.
    Any status will do."""
    before = datetime.now(UTC)
    try:
        answer = httpx.head(url, timeout=TIMEOUT, follow_redirects=False)
    except httpx.HTTPError:
        return None
    return from_date_header(answer.headers.get("Date"), before, datetime.now(UTC))


def judge(name: str, whose: str, clock: Clock | None) -> Finding:
    """`whose` completes "the clock of"."""
    if clock is None:
        return not_checked(name, f"{whose} did not tell its time")
    off = max(abs(clock.ahead) - clock.give_or_take, timedelta())
    told = f"{abs(clock.ahead).total_seconds():.1f} s"
    way = "ahead of" if clock.ahead > timedelta() else "behind"
    if off <= NOTABLE:
        return ok(name, f"{whose} and this machine agree within {told}")
    make = red if off > TOO_MUCH else amber
    return make(
        name,
        f"{whose} is {told} {way} this machine",
        "Let this machine take its time from the network (timedatectl set-ntp true), and see which "
        "of the two is wrong. Signed requests, tokens and links of the API are refused otherwise.",
    )
