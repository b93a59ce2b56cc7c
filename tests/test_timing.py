"""Intervals and recurrence rules as `backup_schedules` writes them down, and when they come due."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.server.schemas.schedules import IntervalSchedule as ServersIntervalSchedule

from convault.errors import OptionsError
from convault.interval import Interval
from convault.schedule import BackupSchedule, id_of
from deployments.timing import text_of, timing_of, zone_of

ANCHOR = datetime(2026, 1, 1, 9, 30, tzinfo=UTC)
RULE = "DTSTART:20260101T080000\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE\nEXDATE:20260107T080000"


def schedule(text: str, zone: str = "UTC", **others: Any) -> BackupSchedule:
    return BackupSchedule(id=id_of("x"), name="x", schedule=text, timezone=zone, **others)


@pytest.mark.parametrize(
    ("timing", "text"),
    [
        (IntervalSchedule(interval=timedelta(hours=1), anchor_date=ANCHOR),
         "R/2026-01-01T09:30:00+00:00/PT3600S"),
        (
            IntervalSchedule(
                interval=timedelta(days=7, microseconds=50),
                anchor_date=datetime(2026, 1, 1, 9, 30, 0, 250_000, timezone(timedelta(hours=-3))),
                timezone="America/Sao_Paulo",
            ),
            "R/2026-01-01T09:30:00.250000-03:00/PT604800.00005S",
        ),
        (RRuleSchedule(rrule=RULE, timezone="Asia/Tokyo"), RULE),
        (RRuleSchedule(rrule="FREQ=DAILY"), "FREQ=DAILY"),
        (RRuleSchedule(rrule="RDATE:20260101T000000Z"), "RDATE:20260101T000000Z"),
        (CronSchedule(cron="0 2 * * *", timezone="Asia/Tokyo"), "daily"),
        (CronSchedule(cron="@weekly", timezone="UTC"), "@weekly"),
        (CronSchedule(cron="0 2 * * 1 30", timezone="UTC"), "0 2 * * 1 30"),
        (CronSchedule(cron="0 0 * * L5", timezone="UTC"), "0 0 * * L5"),
        (CronSchedule(cron="0 2 1-7 * 1", timezone="UTC", day_or=False),
         "0 2 1-7 * 1 day_or=false"),
    ],
)  # fmt: skip
def test_what_is_written_down_is_what_was_read(timing: Any, text: str) -> None:
    assert text_of(timing) == text
    assert timing_of(schedule(text, zone_of(timing))) == timing


@given(
    st.datetimes(timezones=st.timezones() | st.just(UTC)),
    st.timedeltas(min_value=timedelta(microseconds=1)),
)
def test_every_interval_has_a_text(anchor: datetime, every: timedelta) -> None:
    # An offset of whole minutes, as Prefect's answers have.
    fixed = anchor.astimezone(timezone(timedelta(minutes=anchor.year % 800)))
    read = Interval.read(str(Interval(fixed, every)))
    assert read is not None
    assert (read.anchor, read.anchor.utcoffset(), read.every) == (fixed, fixed.utcoffset(), every)


@pytest.mark.parametrize(
    "text",
    [
        "", "R", "R//PT1S", "R/2026-01-01T00:00:00Z/PT0S", "R/2026-01-01T00:00:00Z/PT0.0S",
        "R/2026-01-01T00:00:00/PT1S", "R/2026-13-01T00:00:00Z/PT1S", "R/2026-01-01T00:00:00Z/P1D",
        "R/2026-01-01T00:00:00Z/PT99999999999999S", "R/2026-01-01T00:00:00Z/PT-5S", "every 60 s",
        "daily", "FREQ=DAILY", "R/2026-01-01T00:00:00Z/PT1S\n", "never", "RRULE:INTERVAL=2",
        "RRULE:FREQ=SOMETIMES", "DTSTART:20269999T000000\nRRULE:FREQ=DAILY", "x day_or=false",
    ],
)  # fmt: skip
def test_what_is_no_interval_and_what_nobody_can_use(text: str) -> None:
    assert Interval.read(text) is None
    if text not in {"daily", "FREQ=DAILY"}:
        with pytest.raises(OptionsError, match="schedule"):
            timing_of(schedule(text))
    assert schedule(text, "Nowhere").due_before(ANCHOR) is None
    with pytest.raises(OptionsError):
        timing_of(schedule(text, "Nowhere"))


@given(st.text(max_size=30) | st.from_regex(r"(RRULE:|R/|DTSTART:|RDATE:|EX)[ -~\n]{0,40}"))
def test_whatever_the_mirror_says_is_used_or_refused(text: str) -> None:
    row = schedule(text)
    row.due_after(ANCHOR)
    row.due_before(ANCHOR)
    with suppress(OptionsError):
        timing_of(row)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Sao_Paulo"])
@pytest.mark.parametrize("hours", [0.25, 6, 24, 24 * 7])
@pytest.mark.parametrize("days", [-40, 0.3, 400])
def test_an_interval_comes_due_when_prefect_plans_it(zone: str, hours: float, days: float) -> None:
    """Also before its anchor. The first one that the server plans is meant, by hours; where clocks
    changed, whole days may be off by an hour."""
    every, now = timedelta(hours=hours), ANCHOR + timedelta(days=days)
    server = ServersIntervalSchedule(interval=every, anchor_date=ANCHOR, timezone=zone)
    [planned] = asyncio.run(server.get_dates(n=1, start=now + timedelta(microseconds=1)))
    row = schedule(str(Interval(ANCHOR, every)), zone)
    found = row.due_after(now)
    assert found is not None
    assert found.tzinfo is UTC
    assert abs(found - planned) <= row.shifts
    assert row.shifts == timedelta(hours=1 if hours >= 24 else 0)
    last = row.due_before(now)
    assert last == found - every <= now
    assert last.tzinfo == ZoneInfo(zone)
    assert row.model_copy(update={"is_active": False}).due_after(now) is None


def test_beyond_the_calendar_is_never() -> None:
    row = schedule(str(Interval(ANCHOR, timedelta(days=900_000_000))))
    assert row.due_before(ANCHOR) == ANCHOR
    assert row.due_after(ANCHOR) is None
    assert row.due_before(ANCHOR - timedelta(days=1)) is None


@pytest.mark.parametrize("text", [RULE, "FREQ=DAILY", "0 0 * * L5", "0 2 1-7 * 1 day_or=false"])
def test_when_prefect_alone_understands_it_its_plan_counts(text: str) -> None:
    planned = schedule(text, "Asia/Tokyo", next_run_at=ANCHOR)
    assert planned.cron is None or text == "0 0 * * L5"
    assert planned.due_after(ANCHOR) is None
    assert planned.due_before(ANCHOR - timedelta(seconds=1)) is None
    found = planned.due_before(ANCHOR)
    assert found == ANCHOR
    assert found.tzinfo == ZoneInfo("Asia/Tokyo")
