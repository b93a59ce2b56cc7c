"""What can be a schedule."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.schedules import CronSchedule

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
    ["", "hourly", "0 2 * *", "0 2 * * * *", "60 2 * * *", "0 0 30 2 *", "@daily", "every 60 s"],
)
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
