"""Sizes, times and tables as people read them."""

from __future__ import annotations

import json
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


EVIL = "a\x1b]0;owned\x07\x9b2J\r\u202eb\x7f\ud800"
TAMED = r"a\x1b]0;owned\x07\x9b2J\r\u202eb\x7f\ud800"


def test_names_do_not_steer_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    output.say(f"{EVIL}\nnext")
    output.print_table(("table", "rows"), [(f"{EVIL}\nx", "1")], right=["rows"])
    output.print_facts([("name", EVIL)])
    printed = capfd.readouterr()
    assert printed.err == f"{TAMED}\nnext\n"
    assert printed.out == (
        f"table{' ' * (len(TAMED) - 2)}  rows\n{TAMED}\\nx     1\nname  {TAMED}\n"
    )


def test_names_in_json_do_not_either_and_stay_what_they_are(
    capfd: pytest.CaptureFixture[str],
) -> None:
    output.print_json({EVIL: [f"{EVIL}\n", "Olá 😀 'x'"]})
    printed = capfd.readouterr().out
    assert not set(EVIL) - set("a]0;ownedb2J") & set(printed)
    assert "Olá 😀 'x'" in printed
    assert json.loads(printed) == {EVIL: [f"{EVIL}\n", "Olá 😀 'x'"]}


def test_ordinary_text_is_printed_as_it_is() -> None:
    for text in ("Olá – conversas", "会話", "😀", "שלום", 'a "b" c'):
        assert output.printable(text) == text
