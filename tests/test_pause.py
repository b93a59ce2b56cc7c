"""CONVAULT_PAUSE: when no backup begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.pause import parse_pause, paused_until

SAO_PAULO, BERLIN = ZoneInfo("America/Sao_Paulo"), ZoneInfo("Europe/Berlin")


def until(text: str, at: str, zone: ZoneInfo = SAO_PAULO) -> str | None:
    found = paused_until(datetime.fromisoformat(at).replace(tzinfo=zone), parse_pause(text), zone)
    return None if found is None else found.astimezone(zone).strftime("%a %H:%M")


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("", "2026-11-25T12:00", None),
        ("08:00-18:00", "2026-11-25T07:59", None),
        ("08:00-18:00", "2026-11-25T08:00", "Wed 18:00"),
        ("08:00-18:00", "2026-11-25T18:00", None),
        ("mon-fri 08:00-18:00", "2026-11-28T12:00", None),
        ("sat-mon 08:00-18:00", "2026-11-30T12:00", "Mon 18:00"),
        ("22:00-04:00", "2026-11-25T03:59", "Wed 04:00"),
        ("fri 22:00-04:00", "2026-11-28T03:00", "Sat 04:00"),
        ("fri 22:00-04:00", "2026-11-27T03:00", None),
        ("08:00-12:00, 12:00-18:00", "2026-11-25T09:00", "Wed 18:00"),
        ("08:00-12:00,11:00-18:00,wed 18:00-07:00", "2026-11-25T09:00", "Thu 07:00"),
        ("sun 00:00-00:00", "2026-11-29T13:00", "Mon 00:00"),
        (" SAT  10:00-11:00 ", "2026-11-28T10:30", "Sat 11:00"),
    ],
)
def test_it_lasts_until_the_windows_end(text: str, at: str, expected: str | None) -> None:
    assert until(text, at) == expected


def test_clocks_are_put_on_and_back() -> None:
    # 2026-03-29: 02:00 is 03:00. The window's end does not exist: it ends where the clocks go on.
    assert until("01:00-02:30", "2026-03-29T01:30", BERLIN) == "Sun 03:30"
    # 2026-10-25: the hour from 02:00 is there twice; 02:30 is the first of both.
    windows = parse_pause("01:00-02:30")
    second = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)
    assert second.astimezone(BERLIN).strftime("%H:%M") == "02:00"
    assert paused_until(second, windows, BERLIN) is None
    assert until("08:00-18:00", "2026-10-25T08:00", BERLIN) == "Sun 18:00"


@pytest.mark.parametrize(
    "text", ["8-18", "08:00", "25:00-26:00", "foo 08:00-18:00", "mon-xyz 08:00-09:00", ",",
             "00:00-00:00", "00:00-12:00,12:00-00:00", "08:00-18:00 mon"],
)  # fmt: skip
def test_what_cannot_be_or_leaves_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not written as|days are|no time"):
        parse_pause(text)


@given(
    st.lists(
        st.sampled_from(["mon 08:00-18:00", "22:00-04:00", "tue-thu 03:00-09:30"]), max_size=3
    ),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),
    st.sampled_from([SAO_PAULO, BERLIN, ZoneInfo("Pacific/Apia")]),
)
def test_when_it_is_over_it_is_over(texts: list[str], at: datetime, zone: ZoneInfo) -> None:
    now, windows = at.replace(tzinfo=UTC), parse_pause(",".join(texts))
    found = paused_until(now, windows, zone)
    if found is not None:
        assert now < found < now + timedelta(days=2)
        assert paused_until(found, windows, zone) is None
        assert paused_until(found - timedelta(seconds=1), windows, zone) == found
