"""What startDate and endDate mean, on the days when clocks change too."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.dataset.period import day_start, instants
from convault.errors import OptionsError
from convault.models import BackupOptions

UTC_ZONE = ZoneInfo("UTC")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "start", "end", "first", "last"),
    [
        ("UTC", "2026-01-31", "2026-01-31", "2026-01-31T00:00Z", "2026-02-01T00:00Z"),
        ("America/Sao_Paulo", "2026-01-31", "2026-01-31", "2026-01-31T03:00Z", "2026-02-01T03:00Z"),
        # Clocks went from 00:00 to 01:00: the day began at 01:00, and had 23 hours.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04", "2018-11-04T03:00Z", "2018-11-05T02:00Z"),
        # And back from 00:00 to 23:00: the day before had 25.
        ("America/Sao_Paulo", "2019-02-16", "2019-02-16", "2019-02-16T02:00Z", "2019-02-17T03:00Z"),
        ("Europe/Berlin", "2026-03-29", "2026-03-29", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("Europe/Berlin", "2026-10-25", "2026-10-25", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        # Midnight came twice: the first of the two. (A past one: rules of later years may change.)
        ("America/Havana", "2024-11-03", "2024-11-03", "2024-11-03T04:00Z", "2024-11-04T05:00Z"),
        # A day that was left out of the calendar has no moment.
        ("Pacific/Apia", "2011-12-30", "2011-12-30", "2011-12-30T10:00Z", "2011-12-30T10:00Z"),
        # Clocks went from 23:30 to 00:30: the day began in the middle of it.
        ("America/Toronto", "1919-03-31", "1919-03-31", "1919-03-31T04:30Z", "1919-04-01T04:00Z"),
    ],
)
def test_a_bare_day_is_the_whole_day_in_the_zone(
    zone: str, start: str, end: str, first: str, last: str
) -> None:
    period = instants(start, end, ZoneInfo(zone))
    assert (period.start, period.end) == (at(first), at(last))


def test_with_a_time_the_end_is_exclusive() -> None:
    period = instants("2026-01-31T08:00", "2026-01-31T09:00:00.5", SAO_PAULO)
    assert (period.start, period.end) == (at("2026-01-31T11:00Z"), at("2026-01-31T12:00:00.5Z"))
    period = instants("2026-01-31T08:00Z", "2026-01-31T09:00+02:00".replace("09", "11"), SAO_PAULO)
    assert (period.start, period.end) == (at("2026-01-31T08:00Z"), at("2026-01-31T09:00Z"))


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "Africa/Cairo", "America/St_Johns"])
@given(day=st.dates(date(1975, 1, 2), date(2037, 1, 1)))
def test_the_first_moment_of_a_day_is_of_it_and_the_one_before_is_not(zone: str, day: date) -> None:
    here = ZoneInfo(zone)
    start = day_start(day, here)
    assert start.astimezone(here).date() == day
    assert (start - timedelta(seconds=1)).astimezone(here).date() == day - timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "how"), [("2018-11-04T00:30", "never"), ("2019-02-16T23:30", "twice")]
)
def test_a_time_that_clocks_show_never_or_twice_is_refused(text: str, how: str) -> None:
    with pytest.raises(OptionsError, match=how):
        instants(text, None, SAO_PAULO)
    assert instants(f"{text}-03:00", None, SAO_PAULO).start == at(f"{text}-03:00")


@pytest.mark.parametrize(
    "text",
    ["", "today", "2026-02-30", "2026-1-1", "20260101", "2026-01-01T", "2026-01-01T25:00",
     "2026-01-01T08:00+25:00", "2026-W01-1", "٢٠٢٦-01-01", "2026-01-01'; DROP TABLE messages; --",
     "2026-01-01 08:00\n"],
)  # fmt: skip
def test_what_is_no_day_and_no_time_is_refused(text: str) -> None:
    for name in ("startDate", "endDate", "start_date"):
        with pytest.raises(OptionsError, match="2026-01-31T08:00"):
            BackupOptions.parse({name: text})


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-02-02", "2026-02-01"),
        ("2026-02-02T08:00", "2026-02-01"),
        ("2026-02-02", "2026-02-01T23:59"),
        ("2026-02-02T08:00:00Z", "2026-02-02T08:59:00+01:00"),
    ],
)
def test_an_end_before_the_start_is_refused_at_once(start: str, end: str) -> None:
    with pytest.raises(OptionsError, match="endDate is before startDate"):
        BackupOptions.parse({"startDate": start, "endDate": end})


def test_also_where_only_the_zone_tells() -> None:
    options = BackupOptions.parse({"startDate": "2026-02-01T01:00Z", "endDate": "2026-01-31"})
    assert options.end_date is not None
    instants(options.start_date, options.end_date, SAO_PAULO)
    with pytest.raises(OptionsError, match="endDate is before startDate"):
        instants(options.start_date, options.end_date, UTC_ZONE)


def test_one_day_and_one_moment_are_no_such_thing() -> None:
    BackupOptions.parse({"startDate": "2026-02-01", "endDate": "2026-02-01"})
    BackupOptions.parse({"startDate": "2026-02-01T23:00", "endDate": "2026-02-01"})
    BackupOptions.parse({"startDate": "2026-02-01T08:00Z", "endDate": "2026-02-01T08:00Z"})


def test_the_end_of_the_calendar_is_an_error_and_no_crash() -> None:
    with pytest.raises(OptionsError, match="calendar"):
        instants(None, "9999-12-31", UTC_ZONE)
