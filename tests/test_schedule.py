"""What can be a schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.schedules import CronSchedule
from prefect.server.schemas.schedules import CronSchedule as ServersCronSchedule

from convault.errors import OptionsError
from convault.schedule import (
    WORDS,
    BackupSchedule,
    id_of,
    require_name,
    require_schedule,
    require_timezone,
    word_for,
)


@pytest.mark.parametrize(
    "schedule", [*WORDS, *WORDS.values(), "*/15 * * * *", "30 1 * * 1-5", " 0  2 29 2 * "]
)
def test_what_is_taken_prefect_takes_too(schedule: str) -> None:
    line = require_schedule(schedule)
    cron = BackupSchedule(id=id_of("x"), name="x", schedule=line).cron
    assert cron is not None
    CronSchedule(cron=cron, timezone="America/Sao_Paulo")
    assert require_schedule(line) == line


@pytest.mark.parametrize(
    "schedule",
    [
        "", "hourly", "0 2 * *", "0 2 * * * *", "60 2 * * *", "0 0 30 2 *", "0 0 31 4,6,9,11 *",
        "@daily", "every 60 s", f"{'0' * 5000} 2 * * *", f"0 2 * * {'1,' * 100}1",
    ],
)  # fmt: skip
def test_what_is_not(schedule: str) -> None:
    with pytest.raises(OptionsError, match="cron"):
        require_schedule(schedule)


@given(st.text(max_size=30))
def test_whatever_is_sent_is_taken_or_refused(text: str) -> None:
    for check in (require_schedule, require_name, require_timezone):
        with suppress(OptionsError):
            assert check(text).split() == text.split()


def test_names_are_slugs_and_ids_follow_from_them() -> None:
    assert require_name("nightly-2") == "nightly-2"
    for wrong in ("", "Nightly", "a b", "-a", "a-", "a--b", "ação", "a" * 61):
        with pytest.raises(OptionsError):
            require_name(wrong)
    assert id_of("nightly") == id_of("nightly") != id_of("weekly")
    unnamed = uuid4()  # as Prefect's UI makes them: the id is the name
    assert id_of(str(unnamed)) == unnamed
    assert id_of(unnamed.hex) not in {unnamed, id_of(str(unnamed).upper())}


@pytest.mark.parametrize(
    "name",
    ["", "Nowhere", "America", "america/sao_paulo", "posix/UTC", "right/UTC", "posixrules",
     "localtime", "Factory", "../UTC", "/usr/share/zoneinfo/UTC", "UTC\0", "UTC "],
)  # fmt: skip
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(OptionsError, match="IANA"):
        require_timezone(name)


@pytest.mark.parametrize("line", ["0 0 30 2 *", "0 0 * * L5", "0 22-2 * * *", "0 0 * * 5 extra"])
def test_what_prefects_ui_may_make_is_not_known_beforehand(line: str) -> None:
    """Nor does it keep the others from being shown."""
    row = BackupSchedule(id=id_of("x"), name="x", schedule=line)
    assert row.due_after(datetime(2026, 1, 1, tzinfo=UTC)) is None
    nowhere = BackupSchedule(id=id_of("x"), name="x", schedule="daily", timezone="Nowhere")
    assert nowhere.due_after(datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_words_are_known_again() -> None:
    assert [word_for(line) for line in WORDS.values()] == list(WORDS)
    assert word_for("1 2 3 4 5") == "1 2 3 4 5"


@pytest.mark.parametrize(
    ("schedule", "zone", "now", "due"),
    [
        ("daily", "UTC", "2026-11-25T12:00Z", "2026-11-26T02:00Z"),
        ("daily", "America/Sao_Paulo", "2026-11-25T12:00Z", "2026-11-26T05:00Z"),
        ("weekly", "UTC", "2026-11-25T12:00Z", "2026-11-29T03:00Z"),
        ("monthly", "UTC", "2026-11-25T12:00Z", "2026-12-01T04:00Z"),
        # 02:30 does not exist on that day, and comes twice on the other.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", "2026-03-29T01:00Z"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", "2026-10-25T00:30Z"),
        ("0 0 31 * *", "UTC", "2026-02-01T00:00Z", "2026-03-31T00:00Z"),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00Z", "2028-02-29T00:00Z"),
    ],
)
def test_when_it_is_due(schedule: str, zone: str, now: str, due: str) -> None:
    row = BackupSchedule(id=id_of("x"), name="x", schedule=schedule, timezone=zone)
    found = row.due_after(datetime.fromisoformat(now))
    assert found is not None
    assert found == datetime.fromisoformat(due)
    assert found.tzinfo is UTC
    assert row.model_copy(update={"is_active": False}).due_after(found) is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"])
@pytest.mark.parametrize(
    ("schedule", "days"),
    [
        ("daily", lambda day: True),
        ("weekly", lambda day: day.isoweekday() == 7),
        ("monthly", lambda day: day.day == 1),
        ("30 2 31 * *", lambda day: day.day == 31),
        ("30 2 29 2 *", lambda day: (day.month, day.day) == (2, 29)),
    ],
    ids=["daily", "weekly", "monthly", "31sts", "leap days"],
)
def test_prefect_plans_each_day_once_at_its_time(
    schedule: str, days: Callable[[date], bool], zone: str
) -> None:
    """What a Prefect server makes runs by, over the changes of clocks: every day that is meant has
    one, at the wall clock's time or, where the clocks leave that out, within an hour of it."""
    cron = BackupSchedule(id=id_of("x"), name="x", schedule=require_schedule(schedule)).cron
    assert cron is not None
    minute, hour = (int(field) for field in cron.split()[:2])
    begin, years = datetime(2026, 11, 3, tzinfo=UTC), 6 if "29 2" in cron else 2
    plan = ServersCronSchedule(cron=cron, timezone=zone)
    end, found, start = begin + timedelta(days=365 * years), [], begin
    while page := asyncio.run(plan.get_dates(n=90, start=start, end=end)):
        found += [moment.astimezone(UTC) for moment in page]
        start = found[-1] + timedelta(seconds=1)
    local = [moment.astimezone(ZoneInfo(zone)) for moment in found]
    first, last = (moment.astimezone(ZoneInfo(zone)).date() for moment in (begin, end))
    every = [first + timedelta(days=n) for n in range(1, (last - first).days)]
    assert [moment.date() for moment in local if moment.date() in every] == [
        day for day in every if days(day)
    ]
    for moment in local:
        off = moment.hour * 60 + moment.minute - hour * 60 - minute
        assert off == 0 or _clocks_go_forward(moment.date(), ZoneInfo(zone)), moment
        assert abs(off) <= 60, moment


def _clocks_go_forward(day: date, zone: ZoneInfo) -> bool:
    morning, evening = (datetime(day.year, day.month, day.day, h, tzinfo=zone) for h in (0, 12))
    before, after = morning.utcoffset(), evening.utcoffset()
    assert before is not None
    assert after is not None
    return after > before
