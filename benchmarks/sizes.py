"""Time and memory of a full backup over the sizes that can be chosen: of parts and of chunks.

    python -m benchmarks.sizes --messages 1000000 --parts 4 8 16 32 --chunks 8 32 64 128 256

Every size of parts is taken with the default size of chunks, and every size of chunks with the
default size of parts, by the flow on a Prefect server that has been started before. In each round
all of them take turns. Sizes are in MiB. Printed are medians.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.case import take
from benchmarks.databases import cluster, filled, installed, new_database, workplace
from benchmarks.meter import Taken
from benchmarks.run import Bench, started
from convault.embedded.server import wheel_binaries
from convault.settings import Settings

_MIB = 2**20


class Sizes(NamedTuple):
    """Of one backup, in bytes at most."""

    part: int
    chunk: int


def curve(parts: Sequence[float], chunks: Sequence[float], default: Sizes) -> list[Sizes]:
    """What is measured, of sizes in MiB: the default among them, each once."""
    found = [Sizes(int(part * _MIB), default.chunk) for part in parts]
    found += [Sizes(default.part, int(chunk * _MIB)) for chunk in chunks]
    return list(dict.fromkeys([*found, default]))


def taken(bench: Bench, sizes: Sizes, format: str, level: int) -> tuple[Taken, dict[str, Any]]:
    """What a full backup takes with these sizes, and its metrics. SystemExit when it fails."""
    store = bench.folder / "store"
    installed(
        bench.url, new_database(bench.server, "catalog"), store,
        CONVAULT_PART_BYTES=str(sizes.part), CONVAULT_CHUNK_BYTES=str(sizes.chunk),
    )  # fmt: skip
    asked = {"kind": "flow", "format": format, "level": level, "postgres": bench.postgres,
             "prefect": bench.prefect}  # fmt: skip
    found, told = take(asked)
    shutil.rmtree(store)
    return found, told["metrics"]


def table(found: dict[Sizes, list[tuple[Taken, dict[str, Any]]]], default: Sizes) -> str:
    """Markdown: a line for each pair of sizes, the default marked."""
    lines = [
        "| part, MiB | chunk, MiB | parts | chunks | seconds | CPU seconds | of Prefect | peak MiB "
        "| written MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for sizes, rounds in sorted(found.items()):
        metrics = rounds[0][1]
        wall, cpu, prefect, peak = (
            median(getattr(taken, name) for taken, _ in rounds)
            for name in ("wall", "cpu", "prefect", "peak")
        )
        bold = "**" if sizes == default else ""
        lines.append(
            f"| {bold}{sizes.part / _MIB:g}{bold} | {bold}{sizes.chunk / _MIB:g}{bold} "
            f"| {metrics['parts']} | {metrics['chunks']} | {wall:.2f} | {cpu:.2f} "
            f"| {prefect:.2f} | {peak:.0f} | {metrics['stored_bytes'] / _MIB:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--messages", type=int, default=1_000_000)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--parts", type=float, nargs="*", default=[2, 4, 8, 16, 32])
    asked.add_argument("--chunks", type=float, nargs="*", default=[8, 16, 32, 64, 128, 256])
    asked.add_argument("--form", default="json-3")
    asked.add_argument("--binaries", type=Path, help="of Postgres; the wheel's 18 unless told")
    asked.add_argument("--folder", type=Path, help="where there is room")
    given = asked.parse_args()
    format_, level = given.form.split("-")
    fields = Settings.model_fields
    default = Sizes(fields["convault_part_bytes"].default, fields["convault_chunk_bytes"].default)
    binaries = given.binaries or wheel_binaries()
    with workplace(given.folder) as folder, cluster(folder, binaries) as server:
        bench = Bench(server, filled(server, given.messages), folder, binaries, given)
        started(bench)
        found: dict[Sizes, list[tuple[Taken, dict[str, Any]]]] = {}
        for number in range(given.rounds):
            for sizes in curve(given.parts, given.chunks, default):
                one = taken(bench, sizes, format_, int(level))
                found.setdefault(sizes, []).append(one)
                print(f"round {number + 1}: {sizes} {one[0]}", flush=True)
    print(table(found, default))


if __name__ == "__main__":
    main()
