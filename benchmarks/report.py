"""What a run tells: medians over its rounds, and ratios between cases of the same round.

    python -m benchmarks.report benchmarks/results.json --into benchmarks/README.md
    python -m benchmarks.report benchmarks/results.json --short --into README.md

prints the table of a run that is over, or puts it between the two marks of a file.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.meter import Taken

DUMP = "pg_dump | zstd -5 -T2"
_MIB = 2**20
_BEGIN, _END = "<!-- table of a run -->", "<!-- end of the table -->"

AIMS: tuple[tuple[str, str, str, float], ...] = (
    ("core PARQUET 1, full", "faster than", DUMP, 1.3),
    ("core JSON 3, full", "faster than", DUMP, 1.0),
    ("core JSON 3, full", "faster than", "psql COPY row_to_json | zstd -3 -T2", 1.5),
    ("core JSON 3, full", "faster than", "pg_dump -Fd -j2", 3.5),
    ("core CSV 3, full", "faster than", "psql COPY csv | zstd -3 -T2", 1 / 1.2),
    ("restore JSON 3, everything", "faster than", "pg_restore -j2", 1.0),
    ("flow JSON 3, nothing changed", "faster than", DUMP, 8.0),
    ("flow JSON 3, newest 1 % changed", "faster than", DUMP, 5.0),
    ("flow JSON 3, full", "faster than", "core JSON 3, full", 0.85),
)
"""A case, another, and how many times faster it is to be, at least."""

SHORT = (
    "core JSON 3, full",
    "flow JSON 3, full",
    "core PARQUET 1, full",
    DUMP,
    "pg_dump -Fd -j2",
    "psql COPY row_to_json | zstd -3 -T2",
    "dlt (pyarrow)",
    "flow JSON 3, nothing changed",
    "flow JSON 3, newest 1 % changed",
    "restore JSON 3, everything",
    "pg_restore -j2",
    "restore JSON 3, one conversation",
)
"""The cases of the short table, where a run has them."""


def results(
    facts: Mapping[str, Any], found: Mapping[str, Sequence[Taken]], missing: Mapping[str, str]
) -> dict[str, Any]:
    """All of a run, as JSON has it: every round's numbers, their medians, and the ratios."""
    return {
        "facts": dict(facts),
        "cases": {
            name: {
                "rounds": [taken.as_json() for taken in rounds],
                **{key: _median(rounds, key) for key in Taken.__dataclass_fields__},
            }
            for name, rounds in found.items()
        },
        "missing": dict(missing),
        "ratios": [
            {"case": one, "how": how, "beside": other, "wanted": round(wanted, 2),
             **_ratio(found[one], found[other])}
            for one, how, other, wanted in AIMS
            if one in found and other in found
        ],
    }  # fmt: skip


def table(told: Mapping[str, Any]) -> str:
    """Markdown: a line for each case, those that are missing, and the ratios that are aimed at."""
    beside = told["cases"].get(DUMP)
    lines = [
        "| | seconds | CPU seconds | of Postgres | of Prefect | peak MiB | written MiB "
        "| faster than the dump |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in told["cases"].items():
        ratio = f"{beside['wall'] / case['wall']:.1f}x" if beside else ""
        written = f"{case['bytes'] / _MIB:.1f}" if case["bytes"] else ""
        prefect = f"{case['prefect']:.1f}" if case["prefect"] else ""
        lines.append(
            f"| {_cell(name)} | {case['wall']:.2f} | {case['cpu']:.2f} | {case['postgres']:.2f} "
            f"| {prefect} | {case['peak']:.0f} | {written} | {ratio} |"
        )
    lines += [
        f"| {_cell(name)} | missing: {why} | | | | | | |" for name, why in told["missing"].items()
    ]
    lines += ["", "| wanted | at least | clock | CPU |", "|---|---|---|---|"]
    for ratio in told["ratios"]:
        lines.append(
            f"| {ratio['case']}, {ratio['how']} {_cell(ratio['beside'])} | {ratio['wanted']} "
            f"| {ratio['wall']:.2f} | {ratio['cpu']:.2f} |"
        )
    return "\n".join(lines)


def short_table(told: Mapping[str, Any]) -> str:
    """Markdown: what was measured on, and a line for each of `SHORT`."""
    facts = told["facts"]
    lines = [
        f"{facts['messages']:,} messages, {facts['heap_bytes'] / _MIB:,.0f} MiB of heap, Postgres "
        f"{facts['postgres'].partition(' ')[0]}, {facts['cpus']} cores, medians of "
        f"{facts['rounds']} rounds:",
        "",
        "| | seconds | CPU seconds of all processes | peak MiB | written MiB |",
        "|---|---|---|---|---|",
    ]
    for name in SHORT:
        if case := told["cases"].get(name):
            written = f"{case['bytes'] / _MIB:.1f}" if case["bytes"] else ""
            lines.append(
                f"| {_cell(name)} | {case['wall']:.2f} | {case['cpu']:.2f} | {case['peak']:.0f} "
                f"| {written} |"
            )
    return "\n".join(lines)


def renewed(text: str, made: str) -> str:
    """`text` with the table that was made between its marks. ValueError when it has none."""
    between = re.compile(f"(?<={_BEGIN}\n).*?(?={_END})", re.DOTALL)
    if not between.search(text):
        raise ValueError(f"there is no place for the table: mark it by {_BEGIN} and {_END}")
    return between.sub(lambda _: f"\n{made}\n\n", text, count=1)


def main() -> None:
    """See the module."""
    asked = argparse.ArgumentParser(description="The table of a run that is over.")
    asked.add_argument("results", type=Path, help="what `benchmarks.run --json` has written")
    asked.add_argument("--short", action="store_true", help="only what decides")
    asked.add_argument("--into", type=Path, help="a Markdown file with the marks of a table")
    given = asked.parse_args()
    told = json.loads(given.results.read_text())
    made = short_table(told) if given.short else table(told)
    if given.into is None:
        print(made)
    else:
        given.into.write_text(renewed(given.into.read_text(), made))


def _cell(text: str) -> str:
    """A pipe is a column's border unless it is escaped."""
    return text.replace("|", "\\|")


def _median(rounds: Sequence[Taken], key: str) -> float:
    return round(statistics.median(getattr(taken, key) for taken in rounds), 3)


def _ratio(one: Sequence[Taken], other: Sequence[Taken]) -> dict[str, float]:
    """How many times the time of `one` that of `other` is: the median over the rounds."""
    pairs = list(zip(one, other, strict=False))
    if not pairs:
        return {"wall": 0.0, "cpu": 0.0}
    return {
        "wall": round(statistics.median(b.wall / a.wall for a, b in pairs), 3),
        "cpu": round(statistics.median(b.cpu / max(a.cpu, 0.01) for a, b in pairs), 3),
    }


if __name__ == "__main__":
    main()
