"""What is wrong, of what the catalog tells. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from convault.catalog.base import BackupRecord, BackupStatus
from convault.incidents import GIVE_UP, Incident, Kind, Notice, decide, wait_before
from convault.models import BackupOptions
from convault.noticing import Facts, Limits, is_over, notices, overdue, refused, subject_of
from convault.retention.shrinkage import Shrunk, shrunk_tables
from convault.retention.spans import Span
from convault.schedule import BackupSchedule

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
LIMITS = Limits(Span(2, "d"), timedelta(minutes=30), ZoneInfo("UTC"))
FILTER = BackupOptions(participant_ids=("ana@example.org",)).to_json()


def row(
    hours: float, status: BackupStatus = BackupStatus.COMPLETED, *, rows: int | None = 5,
    options: dict[str, Any] | None = None, **others: Any,
) -> BackupRecord:  # fmt: skip
    """Of so many hours ago."""
    at = NOW - timedelta(hours=hours)
    return BackupRecord(
        id=uuid4(), status=status, options=options or {}, created_at=at, updated_at=at, rows=rows,
        completed_at=at if status is BackupStatus.COMPLETED else None, **others,
    )  # fmt: skip


def seen(*rows: BackupRecord, **others: Any) -> Facts:
    return Facts(NOW, sorted(rows, key=lambda r: r.created_at, reverse=True), **others)


def kinds(facts: Facts) -> list[tuple[str, str]]:
    return [(str(notice.kind), notice.subject) for notice in notices(facts, LIMITS)]


def incident(notice: Notice, hours: float = 1) -> Incident:
    """That began so many hours ago."""
    return Incident(
        id=uuid4(), kind=notice.kind, subject=notice.subject, title=notice.title,
        facts=notice.facts, opened_at=NOW - timedelta(hours=hours),
    )  # fmt: skip


def test_all_is_well() -> None:
    assert notices(seen(row(1), row(25)), LIMITS) == []
    assert notices(seen(), LIMITS) == [], "nothing was ever begun"


FAILED = BackupStatus.FAILED
QUOTA = {"metrics": {"error_code": "quota-exceeded"}}


@pytest.mark.parametrize(
    ("last", "kind", "title"),
    [
        ({"metrics": {"error_code": "source-unavailable"}}, Kind.FAILED,
         "A backup failed: source-unavailable"),
        ({"error": "interrupted: the run ended"}, Kind.FAILED, "A backup crashed"),
        ({"error": "something"}, Kind.FAILED, "A backup failed"),
        (QUOTA, Kind.QUOTA, "A backup failed: the store is over its quota"),
    ],
)  # fmt: skip
def test_the_last_run_decides(last: dict[str, Any], kind: Kind, title: str) -> None:
    failed = row(2, FAILED, **last)
    [notice] = notices(seen(row(20), failed), LIMITS)
    assert (notice.kind, notice.subject, notice.title) == (kind, "", title)
    assert str(failed.id) in notice.detail
    assert notices(seen(row(20), failed, row(1)), LIMITS) == []
    # One that runs, or waits, says nothing yet; one that was deleted is not there.
    running = row(1, BackupStatus.PROCESSING)
    assert kinds(seen(row(20), failed, running)) == [(str(kind), "")]
    assert is_over(seen(row(20), failed, row(1)), incident(notice))
    assert not is_over(seen(row(20), failed, running), incident(notice))
    assert is_over(seen(running), incident(notice)), "the failed row was deleted"
    assert not is_over(seen(running, all_rows=False), incident(notice)), "or is out of sight"


def test_a_run_that_is_gone_has_crashed() -> None:
    running = row(1, BackupStatus.PROCESSING)
    assert notices(seen(row(20), running), LIMITS) == []
    [notice] = notices(seen(row(20), running, abandoned=[running.id]), LIMITS)
    assert notice.title == "A backup crashed"
    # The next backup says so in the row: that is the same incident.
    settled = running.model_copy(update={"status": FAILED, "error": "interrupted: it ended"})
    [again] = notices(seen(row(20), settled), LIMITS)
    assert (again.kind, again.subject) == (notice.kind, notice.subject)


def test_a_filtered_backup_stands_for_itself_and_its_filter_is_not_told() -> None:
    subject = subject_of(FILTER)
    bad = row(1, FAILED, options=FILTER, metrics={"error_code": "source"})
    [notice] = notices(seen(row(2), bad), LIMITS)
    assert (notice.kind, notice.subject) == (Kind.FAILED, subject)
    assert "ana" not in json.dumps([notice.title, notice.detail, notice.subject, notice.facts])
    assert subject_of({**FILTER, "format": "csv", "compressionLevel": 9}) == subject
    assert subject_of({}) == subject_of(BackupOptions(compression_level=9).to_json()) == ""
    assert kinds(seen(row(0.5), bad)) == [(str(Kind.FAILED), subject)]


def test_one_that_was_refused_is_over_when_one_that_came_later_is_complete() -> None:
    notice = refused({}, "authentication")
    assert notice.title == "A backup could not begin: authentication"
    assert "wrong" in notice.detail or "refuses" in notice.detail
    assert not is_over(seen(row(20)), incident(notice, hours=2))
    assert not is_over(seen(row(20), row(1, FAILED)), incident(notice, hours=2))
    assert is_over(seen(row(1)), incident(notice, hours=2))


def test_the_last_good_backup_is_too_old() -> None:
    def aged(*rows: BackupRecord) -> list[Notice]:
        return [n for n in notices(seen(*rows), LIMITS) if n.kind is Kind.AGED]

    assert aged(row(47)) == []
    [notice] = aged(row(49))
    assert notice.title == "The last good backup is older than 2d"
    assert aged(row(49), row(1, options=FILTER)), "that holds a part"
    assert aged(row(1, options=FILTER)) == [], "there never was another"
    assert aged(row(49), row(1, rows=0)), "it is empty"
    assert "none at all" in aged(row(49, FAILED), row(1, FAILED))[0].detail
    assert aged(row(47, FAILED)) == []
    never = Limits(None, LIMITS.overdue, LIMITS.zone)
    assert notices(seen(row(4900)), never) == []


def schedule(cron: str = "daily", **others: Any) -> BackupSchedule:
    old = datetime(2026, 1, 1, tzinfo=UTC)
    return BackupSchedule(
        id=uuid4(),
        name="nightly",
        schedule=cron,
        **{"created_at": old, "updated_at": old, **others},
    )


def due(nightly: BackupSchedule, *rows: BackupRecord, **others: Any) -> datetime | None:
    return overdue(nightly, seen(*rows, **others), LIMITS.overdue)


def test_a_schedule_whose_time_came_and_nothing_began() -> None:
    slot = datetime(2026, 3, 10, 2, 0, tzinfo=UTC)  # ten hours ago
    assert due(schedule(), row(34)) == slot
    assert due(schedule(), row(10)) is None
    assert due(schedule(), row(3, FAILED)) is None, "it began; that it failed is told"
    assert due(schedule(), row(3, options=FILTER)) == slot, "that is another backup"
    assert due(schedule(options=FILTER), row(3, options=FILTER)) is None
    assert due(schedule(is_active=False)) is None
    assert due(schedule("sometimes")) is None, "nobody can tell when"
    assert due(schedule("55 11 * * *"), row(24)) is None, "it may be late for a while"
    assert due(schedule("30 11 * * *"), row(24)) == NOW - timedelta(minutes=30)


def test_an_interval_is_missed_as_a_cron_line_is() -> None:
    every_six_hours = schedule("R/2026-01-01T04:00:00+00:00/PT21600S")
    slot = NOW - timedelta(hours=2)
    assert due(every_six_hours, row(3)) == slot
    assert due(every_six_hours, row(1)) is None
    assert due(schedule("R/2026-01-01T11:45:00+00:00/PT86400S"), row(20)) is None, "a while"
    # Prefect plans whole days by the clock or by hours: an hour to either side says nothing.
    daily = schedule("R/2026-01-01T04:00:00+00:00/PT86400S")
    assert due(daily, row(8.9)) is None
    assert due(daily, row(10)) == NOW - timedelta(hours=8)
    assert due(schedule("R/2026-01-01T10:45:00+00:00/PT86400S"), row(24)) is None


@pytest.mark.parametrize(
    "text", ["DTSTART:20260101T000000\nRRULE:FREQ=DAILY", "0 2 1-7 * 1 day_or=false", "0 0 * * L5"]
)
def test_a_rule_is_missed_when_the_run_that_prefect_planned_is(text: str) -> None:
    slot = NOW - timedelta(hours=2)
    planned = schedule(text, next_run_at=slot)
    assert due(planned, row(3)) == slot
    assert due(planned, row(1)) is None
    assert due(schedule(text), row(3)) is None
    assert due(schedule(text, next_run_at=NOW + timedelta(hours=1)), row(3)) is None


def test_a_row_that_nobody_understands_keeps_no_other_from_being_looked_at() -> None:
    odd = [schedule("0 0 * * L5"), schedule(timezone="Nowhere"), schedule("R/x/PT5S")]
    facts = Facts(NOW, [row(34)], schedules=[*odd, schedule()])
    assert [n.kind for n in notices(facts, LIMITS)] == [Kind.OVERDUE]


def test_one_that_waits_for_another_that_runs_is_not_overdue() -> None:
    long = row(12, BackupStatus.PROCESSING)
    assert due(schedule(), long) is None
    assert due(schedule(), long, abandoned=[long.id]) is not None


def test_a_schedule_that_is_new_or_was_switched_on_is_not_overdue() -> None:
    slot = NOW - timedelta(hours=10)
    assert due(schedule(created_at=NOW - timedelta(hours=1))) is None
    changed = schedule(updated_at=NOW - timedelta(hours=1))
    assert due(changed) is None
    owed = changed.model_copy(update={"next_run_at": slot})
    assert due(owed) == slot, "Prefect still owes that run"


@pytest.mark.parametrize(
    ("cron", "zone", "now", "slot"),
    [
        # 02:30 does not exist on that day: it is due when the clock jumps over it.
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T04:00+00:00", "2026-03-29T01:00+00:00"),
        ("0 4 31 * *", "UTC", "2026-04-30T12:00+00:00", "2026-03-31T04:00+00:00"),
        ("0 2 * * *", "America/Sao_Paulo", "2026-03-10T12:00+00:00", "2026-03-10T05:00+00:00"),
        ("0 0 29 2 *", "UTC", "2026-03-10T12:00+00:00", "2024-02-29T00:00+00:00"),
    ],
)
def test_slots_are_of_the_zones_calendar(cron: str, zone: str, now: str, slot: str) -> None:
    old = datetime(2020, 1, 1, tzinfo=UTC)
    nightly = schedule(cron, timezone=zone, created_at=old, updated_at=old)
    facts = Facts(datetime.fromisoformat(now), [])
    found = overdue(nightly, facts, LIMITS.overdue)
    assert found is not None
    assert found.astimezone(UTC) == datetime.fromisoformat(slot)


def test_tables_that_shrank() -> None:
    # Of all eight the median would be 150, of the last six 55.
    before = [{"a": n, "b": 10, "gone": 4} for n in (1000, 200, 200, 200, 100, 10, 10, 10)]
    assert shrunk_tables({"a": 49, "b": 5, "new": 0}, before) == [
        Shrunk("a", 49, 100), Shrunk("gone", 0, 4),
    ]  # fmt: skip
    assert shrunk_tables({"a": 50, "b": 5, "gone": 2}, before) == []
    assert shrunk_tables({"a": 0}, []) == []


def shrunken(hours: float, rows: int, **others: Any) -> BackupRecord:
    metrics = {
        "tables": {"public.messages": rows},
        "shrunk": [] if rows >= 50 else [{"table": "public.messages", "rows": rows, "usual": 100}],
    }
    return row(hours, metrics=metrics, **others)


def test_a_table_that_shrank_stays_so_until_its_rows_are_back_or_somebody_agrees() -> None:
    first = shrunken(5, 3)
    [notice] = notices(seen(shrunken(9, 100), first), LIMITS)
    assert (notice.kind, notice.subject) == (Kind.SHRUNK, "public.messages")
    assert f"convault acknowledge {first.id}" in notice.detail
    begun = incident(notice, hours=4)
    # A week later few rows are usual; that is not the end of it.
    used = row(2, metrics={"tables": {"public.messages": 3}, "shrunk": []})
    assert notices(seen(first, used), LIMITS) == []
    assert not is_over(seen(first, used), begun)
    assert is_over(seen(first, used, shrunken(1, 50)), begun)
    agreed = first.model_copy(update={"acknowledged_at": NOW})
    assert notices(seen(agreed), LIMITS) == []
    assert is_over(seen(agreed), begun)
    assert is_over(seen(agreed, used), begun)
    older = row(2, metrics=None)
    assert not is_over(seen(first, older), begun), "an older Convault did not say"


def test_what_others_found_is_over_when_they_looked_and_did_not_find_it() -> None:
    lag = Notice(Kind.COPY, "offsite", "The copy offsite is behind", "")
    looked = seen(row(1), others=[lag], looked_at=[Kind.COPY])
    assert notices(looked, LIMITS) == [lag]
    assert not is_over(seen(row(1)), incident(lag)), "nobody looked"
    assert is_over(seen(row(1), looked_at=[Kind.COPY]), incident(lag))


@pytest.mark.parametrize("kind", [Kind.OVERDUE, Kind.AGED])
def test_what_is_noticed_no_more_is_over(kind: Kind) -> None:
    going = incident(Notice(kind, "nightly", "x", ""))
    changes = decide([going], notices(seen(row(1)), LIMITS), lambda i: is_over(seen(row(1)), i))
    assert changes.over == (going,)


def test_what_begins_and_what_ends() -> None:
    one, two = (Notice(Kind.OVERDUE, name, name, "") for name in "ab")
    going, history = incident(one), incident(two).model_copy(update={"recovered_at": NOW})
    changes = decide([going, history], [one, two, two], lambda _: True)
    assert (changes.begun, changes.over) == ((two,), ())
    changes = decide([going, history], [], lambda _: True)
    assert (changes.begun, changes.over) == ((), (going,))
    assert decide([going], [], lambda _: False).over == ()


def test_who_is_still_to_be_told() -> None:
    begun = incident(Notice(Kind.AGED, "", "x", ""))
    assert begun.untold(NOW)
    told = begun.model_copy(update={"told_at": NOW})
    assert not told.untold(NOW)
    over = told.model_copy(update={"recovered_at": NOW})
    assert over.untold(NOW + GIVE_UP / 2)
    assert not over.untold(NOW + GIVE_UP)
    assert not over.model_copy(update={"recovery_told_at": NOW}).untold(NOW)
    assert [wait_before(n) for n in (0, 1, 2, 50)] == [60, 120, 240, 3600]
