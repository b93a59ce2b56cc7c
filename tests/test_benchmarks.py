"""That the benchmarks run, and say what they measured. What they measure is no test's business."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import psycopg
import pytest

from benchmarks import chart, databases, meter, month, per_row, report, scale, sizes
from benchmarks.meter import Taken
from benchmarks.peers import peers
from convault.embedded.server import EmbeddedPostgres, wheel_binaries

DUMP = Taken(wall=8.0, cpu=10.0, peak=20.0, bytes=3 << 20)
OURS = Taken(wall=4.0, cpu=5.0, postgres=2.0, peak=300.0, bytes=1 << 20)
FACTS = {
    "messages": 1000, "heap_bytes": 1 << 20, "cpus": 2, "postgres": "18.0 (Debian)", "rounds": 2,
}  # fmt: skip


def told() -> dict[str, object]:
    found = {report.DUMP: [DUMP, DUMP], "core JSON 3, full": [OURS, Taken(wall=2.0, cpu=2.5)]}
    return report.results(FACTS, found, {"dlt (pyarrow)": "it is <not> here"})


def test_ratios_are_between_cases_of_the_same_round() -> None:
    (ratio,) = told()["ratios"]  # type: ignore[misc]
    assert (ratio["case"], ratio["beside"]) == ("core JSON 3, full", report.DUMP)
    assert (ratio["wall"], ratio["cpu"]) == (3.0, 3.0)  # of 8 / 4 and 8 / 2


def test_the_table_names_what_is_missing_and_every_line_has_its_columns() -> None:
    lines = report.table(told()).splitlines()
    assert any("dlt (pyarrow) | missing: it is <not> here" in line for line in lines)
    cells = [line.replace("\\|", "").count("|") for line in lines if line]
    assert set(cells[:5]) == {9}
    assert set(cells[5:]) == {5}


def test_a_table_takes_the_place_of_the_one_before() -> None:
    marks = ("<!-- table of a run -->\n", "<!-- end of the table -->")
    made = report.table(told())
    text = report.renewed(f"before\n{marks[0]}old\n{marks[1]}\nafter", made)
    assert made in text
    assert (text.startswith("before\n"), text.endswith("\nafter"), "old" in text) == (
        True, True, False,
    )  # fmt: skip
    assert report.renewed(text, made) == text
    with pytest.raises(ValueError, match="no place"):
        report.renewed("a file of something else", made)


def test_the_short_table_has_what_decides() -> None:
    lines = report.short_table(told()).splitlines()
    assert "1,000 messages, 1 MiB of heap, Postgres 18.0, 2 cores, medians of 2 rounds" in lines[0]
    assert lines[4] == "| core JSON 3, full | 3.00 | 3.75 | 150 | 0.5 |"
    assert lines[5].startswith("| pg_dump \\| zstd -5 -T2 | 8.00 ")
    assert len(lines) == 6


def test_every_size_is_measured_once_and_the_default_is_marked() -> None:
    default = sizes.Sizes(32 << 20, 64 << 20)
    asked = sizes.curve([16, 32], [64, 0.5], default)
    assert asked == [(16 << 20, 64 << 20), default, (32 << 20, 1 << 19)]
    metrics = {"parts": 3, "chunks": 2, "stored_bytes": 1 << 20}
    lines = sizes.table({each: [(OURS, metrics)] for each in asked}, default).splitlines()
    assert {line.count("|") for line in lines} == {10}
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["64", "0.5", "**64**"]


def test_the_chart_is_a_picture_of_every_case() -> None:
    root = ElementTree.fromstring(chart.drawn(told()))
    texts = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert {report.DUMP, "core JSON 3, full", "8.0", "3.0"} <= set(texts)


def test_a_peer_that_is_not_here_says_why(tmp_path: Path) -> None:
    found = {peer.name: peer for peer in peers(wheel_binaries(), "postgresql://u@/d", None)}
    assert len(found) == 7
    assert "--dlt" in found["dlt (pyarrow)"].missing
    assert report.DUMP in found


def test_a_command_is_measured_with_all_that_it_starts(cluster: EmbeddedPostgres) -> None:
    taken = meter.command("seq 200000 | sort -R | tail -1 > /dev/null", meter.postmaster(cluster))
    assert 0 < taken.cpu < 60
    with pytest.raises(SystemExit, match="failed"):
        meter.command("false | true", meter.postmaster(cluster))


ZSTD = """#!{python}
import sys, zstandard
if "-dcq" in sys.argv:
    zstandard.ZstdDecompressor().copy_stream(open(sys.argv[-1], "rb"), sys.stdout.buffer)
else:
    zstandard.ZstdCompressor(5).copy_stream(sys.stdin.buffer, sys.stdout.buffer)
"""
"""for machines that lack the program"""


def test_two_nights_of_a_month(
    cluster: EmbeddedPostgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "CONVAULT_CATALOG_URL", "CONVAULT_STORE_URL",
                 "CONVAULT_SIGNING_KEY"):  # fmt: skip
        monkeypatch.setenv(name, "")  # so that they are taken back
    (tmp_path / "zstd").write_text(ZSTD.format(python=sys.executable))
    (tmp_path / "zstd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    databases.fill(database, 3000)
    ours, dumps = month.month(cluster, database, tmp_path, wheel_binaries(), 3000, nights=2)
    assert [night.requests for night in dumps] == [1, 1]
    assert all(night.stored > 1000 and night.read > 1000 for night in (*ours, *dumps))
    assert ours[1].read <= ours[0].read
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT count(*) FROM messages").fetchone()
    assert rows is not None
    assert 3000 < rows[0] <= 3030
    assert "| 2 nights |" in month.table(ours, dumps)


def test_the_constants_of_the_model(
    cluster: EmbeddedPostgres, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "CONVAULT_CATALOG_URL", "CONVAULT_STORE_URL",
                 "CONVAULT_SIGNING_KEY", "CONVAULT_RANGE_PAGES"):  # fmt: skip
        monkeypatch.setenv(name, "")  # so that they are taken back
    databases.fill(database, 3000)
    catalog = databases.new_database(cluster, "scale_catalog")
    settings = databases.installed(database, catalog, tmp_path / "store", CONVAULT_RANGE_PAGES="16")
    sizes = scale.sizes(settings, database, 3000)
    assert 300 < sizes["heap"] < 600
    assert 100 < sizes["stored"] < sizes["heap"]
    assert 1000 < sizes["manifest"] < 4000
    again = databases.installed(
        database, databases.new_database(cluster, "scale_again"), tmp_path / "again",
        CONVAULT_RANGE_PAGES="4",
    )  # fmt: skip
    parts, asked = scale.requests(again)
    databases.execute(cluster.url(), "DROP DATABASE scale_catalog")
    databases.execute(cluster.url(), "DROP DATABASE scale_again")
    assert parts > 30
    assert 4 <= asked / parts < 5.5, "look, put, look; and look again at the commit"
    held, seconds = scale.planner(2000)
    assert 100 < held < 1000
    assert 0 < seconds < 0.01
    found = scale.Constants(
        **sizes, requests=4.0, runs=1.0, planner_bytes=held, planner_seconds=seconds
    )
    lines = scale.model(found).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "KiB" in scale.constants(found)


def test_what_a_row_costs_is_said_of_the_largest_beside_the_smallest() -> None:
    small = per_row.Full(1000, 1000, 431_000, 1.0, 0.010, 0.004, 500.0, 0.1, 166_000, 2, 2, 5000,
                         9000)  # fmt: skip
    large = per_row.Full(9000, 9000, 3_879_000, 2.0, 0.099, 0.030, 510.0, 0.2, 1_494_000, 9, 9,
                         9000, 9000)  # fmt: skip
    assert per_row.middle([small, large, large]) == large
    lines = per_row.table([small, large]).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[-1] == "A row of 9,000 costs +10.0 % more than one of 1,000."
