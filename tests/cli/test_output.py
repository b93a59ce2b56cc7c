"""Sizes, times and tables as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cli import output


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, ""), (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"), (32 * 1024**2, "32.0 MiB"), (5 * 1024**3, "5.0 GiB"),
        (3000 * 1024**4, "3000.0 TiB"),
    ],
)  # fmt: skip
def test_size(count: int | None, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (0.0, "0.00 s"), (0.994, "0.99 s"), (0.996, "1.0 s"), (12.34, "12.3 s"),
        (59.97, "1 min 00 s"), (185, "3 min 05 s"), (3599.6, "1 h 00 min"), (3720, "1 h 02 min"),
    ],
)  # fmt: skip
def test_duration(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text


def test_ratio_and_number() -> None:
    assert output.ratio(42, 10) == "4.2x"
    assert output.ratio(0, 0) == output.ratio(None, 3) == output.ratio(5, None) == ""
    assert output.number(50_000) == "50,000"
    assert output.number(None) == ""


def test_a_moment_is_told_in_the_operators_zone() -> None:
    time = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    assert output.moment(time, ZoneInfo("America/Sao_Paulo")) == "2026-01-02 00:04:05"
    assert output.moment(None, UTC) == ""


def test_columns_are_aligned_and_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    output.print_table(
        ("name", "rows"), [("a", "1"), (long, "1,000"), ("[b]", "22")], right=["rows"]
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "rows"]
    assert lines[2] == f"{long}  1,000"
    assert {len(line) for line in lines} == {307}
    assert lines[3].startswith("[b] ")


def test_facts_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_facts([("id", "1"), ("status", "ok")])
    assert capsys.readouterr().out == "id      1\nstatus  ok\n"
