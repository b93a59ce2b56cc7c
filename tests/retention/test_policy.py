"""Which backups stay, and why: examples by hand, and properties of random histories."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from convault.catalog.base import BackupStatus
from convault.errors import PolicyError
from convault.retention.candidates import Candidate
from convault.retention.clocks import disagreement
from convault.retention.deciding import Decision, decide
from convault.retention.policy import Policy
from convault.retention.shrinkage import shrunk
from convault.retention.spans import Span
from tests.soak import count

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
PAULO, BERLIN, ZERO = ZoneInfo("America/Sao_Paulo"), ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
DONE, FAILED = BackupStatus.COMPLETED, BackupStatus.FAILED


def backup(number: int, ago: timedelta, **more: Any) -> Candidate:
    given = {"group": "all", "rows": {"messages": 100}, "status": DONE, "taken_at": NOW - ago}
    return Candidate(id=UUID(int=number), **{**given, **more})


def daily(days: int, **more: Any) -> list[Candidate]:
    """One for each of the last `days` days, number 0 the newest."""
    return [backup(n, timedelta(days=n), **more) for n in range(days)]


def going(decisions: Sequence[Decision]) -> list[int]:
    return sorted(d.backup.id.int for d in decisions if d.goes)


def reason(decisions: Sequence[Decision], number: int) -> str:
    return next(d.reason for d in decisions if d.backup.id.int == number)


def test_the_rules_of_a_calendar() -> None:
    policy = Policy(keep_last=2, keep_daily=3, keep_weekly=2, keep_monthly=2)
    found = decide(daily(60), policy, NOW, ZERO)
    # Monday 15 June is day 0: Sunday 14 ends the week before it, 31 May the month before.
    assert [n for n in range(60) if n not in going(found)] == [0, 1, 2, 15]
    assert "one of the last 2" in reason(found, 1)
    assert "its day, of 3" in reason(found, 2)
    assert reason(found, 15) == "the last of its month, of 2"
    assert reason(found, 20) == "no rule keeps it"


def test_within_hourly_and_yearly() -> None:
    hours = [backup(n, timedelta(minutes=20 * n)) for n in range(12)]
    assert going(decide(hours, Policy(keep_hourly=2), NOW, ZERO)) == [2, 3, *range(4, 12)]
    assert going(decide(daily(9), Policy(keep_within="3d"), NOW, ZERO)) == [4, 5, 6, 7, 8]
    years = [backup(n, timedelta(days=200 * n)) for n in range(6)]
    assert going(decide(years, Policy(keep_yearly=3), NOW, ZERO)) == [2, 4, 5]


def test_what_a_law_demands_beats_the_rules_and_not_the_last_good_one() -> None:
    found = decide(daily(9), Policy(keep_last=100, keep_at_most="4d"), NOW, ZERO)
    assert going(found) == [5, 6, 7, 8]
    assert reason(found, 8) == "older than 4d, the most that may be kept"
    old = [backup(1, timedelta(days=400)), backup(2, timedelta(days=500))]
    assert going(decide(old, Policy(keep_at_most="30d"), NOW, ZERO)) == [2]
    assert going(decide(old, Policy(keep_at_most="30d", minimum_good=2), NOW, ZERO)) == []


def test_the_original_parameters() -> None:
    rows = [*daily(6), *(backup(10 + n, timedelta(days=n), status=FAILED, rows=None, group="")
                         for n in range(6))]  # fmt: skip
    assert going(decide(rows, Policy(older_than="3d"), NOW, ZERO)) == [4, 5, 14, 15]
    assert going(decide(rows, Policy(keep_count=4), NOW, ZERO)) == [4, 5, 14, 15]
    assert going(decide(rows, Policy(status="failed"), NOW, ZERO)) == list(range(10, 16))
    both = Policy.parse({"olderThan": 3, "status": ["failed"], "keepCount": 5})
    assert going(decide(rows, both, NOW, ZERO)) == [15]
    assert going(decide(rows, Policy(keep_last=1), NOW, ZERO)) == [1, 2, 3, 4, 5]


def test_what_is_kept_always() -> None:
    rows = [
        backup(1, timedelta(days=-1)),
        backup(2, timedelta(days=2), rows={"messages": 0}, acknowledged=True),
        backup(3, timedelta(days=3), rows=None),
        backup(4, timedelta(days=4), acknowledged=True),
        backup(5, timedelta(days=5), verified_at=NOW),
        backup(6, timedelta(days=6), pinned="an exam"),
        backup(7, timedelta(days=7)),
        backup(8, timedelta(days=1), group="filtered"),
        backup(9, timedelta(days=9), status=FAILED, rows=None, group="", lost=True),
    ]
    found = decide(rows, Policy(older_than="1h"), NOW, ZERO)
    assert going(found) == [2, 7]
    assert reason(found, 1) == "it is dated in the future"
    assert "cannot be read" in reason(found, 3)
    assert reason(found, 4) == "the last good one of its group"
    assert reason(found, 5) == "the last one that a drill proved"
    assert reason(found, 6) == "pinned: an exam"
    assert reason(found, 8) == "the last good one of its group"
    assert "was lost" in reason(found, 9)


def test_nothing_goes_while_a_table_shrank_and_nobody_said_that_it_may() -> None:
    usual = daily(20)
    now = [backup(n, timedelta(days=n), rows={"messages": 49}) for n in range(8)] + usual[8:]
    policy = Policy(keep_last=2)
    held = decide(now, policy, NOW, ZERO)
    assert going(held) == [], "also when most of the last seven are small by now"
    assert "messages shrank to 49 rows" in reason(held, 12)
    assert f"convault acknowledge {UUID(int=0)}" in reason(held, 12)
    assert shrunk(now) is not None
    acknowledged = [backup(0, timedelta(0), rows={"messages": 49}, acknowledged=True), *now[1:]]
    assert going(decide(acknowledged, policy, NOW, ZERO)) == list(range(2, 20))
    half = [backup(0, timedelta(0), rows={"messages": 50}), *usual[1:]]
    assert shrunk(half) is None
    gone = [backup(0, timedelta(0), rows={"others": 9}), *usual[1:]]
    assert "messages shrank to 0" in (shrunk(gone) or "")
    other = [*now, *(backup(100 + n, timedelta(days=n), group="b") for n in range(5))]
    assert going(decide(other, policy, NOW, ZERO)) == [102, 103, 104]


def test_an_unattended_run_removes_at_most_a_third() -> None:
    found = decide(daily(10), Policy(keep_last=1), NOW, ZERO, unattended=True)
    assert going(found) == [7, 8, 9]
    assert "at most a third" in reason(found, 5)
    assert going(decide(daily(2), Policy(keep_last=1), NOW, ZERO, unattended=True)) == []


def test_nothing_goes_where_clocks_disagree() -> None:
    assert disagreement(NOW, {"x": NOW + timedelta(minutes=5)}) is None
    for off in (timedelta(minutes=5, seconds=1), timedelta(minutes=-6)):
        why = disagreement(NOW, {"this host": NOW, "the store": NOW + off})
        assert why is not None
        assert "the store" in why
        found = decide(daily(9), Policy(keep_last=1), NOW, ZERO, clocks=why)
        assert going(found) == []
        assert reason(found, 5) == why


@pytest.mark.parametrize(
    "values",
    [
        {}, {"minimumGood": 3}, {"keepLast": 0}, {"keepLast": -1}, {"keepWithin": "soon"},
        {"keepWithin": "0d"}, {"keepAtMost": "900y"}, {"status": "completed"}, {"status": []},
        {"keepWithin": "60d", "keepAtMost": "30d"}, {"olderThan": "1y", "keepAtMost": 30},
        {"status": ["failed"], "keepDaily": 7}, {"status": "pending"}, {"keepForever": True},
        "keep all", {"keepLast": "many"},
    ],
    ids=str,
)  # fmt: skip
def test_empty_and_contradictory_policies_are_refused(values: object) -> None:
    with pytest.raises(PolicyError, match=r"nothing was removed: (?!policy|.*Value error)"):
        Policy.parse(values)


def test_days_are_those_of_the_zone() -> None:
    # 02:30 UTC is the day before in São Paulo.
    rows = [backup(n, NOW - datetime(2026, 6, d, h, 30, tzinfo=UTC))
            for n, (d, h) in enumerate([(15, 2), (14, 20), (14, 2)])]  # fmt: skip
    assert going(decide(rows, Policy(keep_daily=5), NOW, PAULO)) == [1]
    assert going(decide(rows, Policy(keep_daily=5), NOW, ZERO)) == [2]


def test_the_hour_that_comes_twice_is_two() -> None:
    back = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 summer time; an hour later 02:30 again
    rows = [backup(n, NOW - back - timedelta(hours=n)) for n in range(3)]
    assert going(decide(rows, Policy(keep_hourly=3), back + timedelta(days=1), BERLIN)) == []
    assert Span.parse("1d").before(back + timedelta(hours=12), BERLIN) == back - timedelta(
        hours=13
    ), "yesterday at the same time of day"
    assert Span.parse("1m").before(datetime(2026, 3, 31, tzinfo=UTC), ZERO).day == 28
    assert Span.parse("1y").before(datetime(2028, 2, 29, tzinfo=UTC), ZERO).day == 28


ROWS = st.lists(
    st.builds(
        backup,
        st.integers(1, 10**6),
        st.integers(-50, 5 * 365 * 24).map(lambda h: timedelta(hours=h)),
        group=st.sampled_from(["a", "b"]),
        rows=st.sampled_from([{"m": 9}, {"m": 9}, {"m": 9}, {"m": 8, "n": 1}, {"m": 0}, None]),
        pinned=st.sampled_from([None, None, None, "why"]),
        acknowledged=st.booleans(),
        verified_at=st.sampled_from([None, None, NOW, NOW - timedelta(days=9)]),
    ),
    unique_by=lambda row: row.id,
    max_size=30,
)
COUNTS = st.one_of(st.none(), st.integers(1, 6))
NAMES = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
POLICIES = st.fixed_dictionaries(
    {
        **dict.fromkeys(NAMES, COUNTS),
        "keep_within": st.sampled_from([None, "2d", "6m"]),
        "keep_at_most": st.sampled_from([None, "7m", "2y"]),
        "older_than": st.sampled_from([None, "5d", "3m"]),
        "minimum_good": st.integers(1, 3),
        "keep_count": COUNTS,
    }
).filter(lambda values: any(value for name, value in values.items() if name != "minimum_good"))
ZONES = st.sampled_from([ZERO, PAULO, BERLIN, ZoneInfo("Asia/Kathmandu")])


@pytest.mark.soak
@hypothesis_settings(max_examples=count(80, 2000))
@given(ROWS, POLICIES, ZONES, st.booleans())
def test_the_last_good_one_and_what_is_pinned_always_stay(
    rows: list[Candidate], values: dict[str, Any], zone: ZoneInfo, unattended: bool
) -> None:
    found = decide(rows, Policy(**values), NOW, zone, unattended=unattended)
    assert sorted(d.backup.id for d in found) == sorted(row.id for row in rows)
    assert all(d.reason for d in found)
    gone = set(going(found))
    for group in ("a", "b"):
        members = [r for r in rows if r.group == group]
        past = [r for r in members if r.good and r.taken_at <= NOW]
        newest = sorted(past, key=lambda r: (r.taken_at, r.id), reverse=True)
        assert not gone & {r.id.int for r in newest[: values["minimum_good"]]}
        if unattended:
            good = {r.id.int for r in members if r.good}
            assert len(gone & good) * 3 <= len(good)
        verified = [r for r in members if r.verified_at]
        if verified:
            last = max(verified, key=lambda r: (r.verified_at or NOW, r.id))
            assert last.id.int not in gone
    assert not gone & {r.id.int for r in rows if r.pinned or r.taken_at > NOW or r.rows is None}


@pytest.mark.soak
@hypothesis_settings(max_examples=count(60, 2000))
@given(ROWS, POLICIES, ZONES, st.sampled_from([*NAMES, "minimum_good"]), st.integers(1, 5))
def test_who_keeps_more_loses_nothing_by_it(
    rows: list[Candidate], values: dict[str, Any], zone: ZoneInfo, name: str, more: int
) -> None:
    before = set(going(decide(rows, Policy(**values), NOW, zone)))
    if values[name] is None:
        return
    larger = Policy(**{**values, name: values[name] + more})
    assert set(going(decide(rows, larger, NOW, zone))) <= before


@pytest.mark.soak
@hypothesis_settings(max_examples=count(60, 2000))
@given(ROWS, POLICIES, ZONES)
def test_a_second_run_finds_nothing_to_do(
    rows: list[Candidate], values: dict[str, Any], zone: ZoneInfo
) -> None:
    policy = Policy(**values)
    gone = set(going(decide(rows, policy, NOW, zone)))
    left = [row for row in rows if row.id.int not in gone]
    assert going(decide(left, policy, NOW, zone)) == []
