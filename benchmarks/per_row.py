"""What a row costs, of a small database and of a large one: CPU seconds, memory, bytes.

    python -m benchmarks.per_row --messages 1000000 3000000 10000000 --rounds 2

Every database is built first. Each round then backs up each of them in full by the core, JSON 3,
in a process of its own and into a store of its own, and once more with nothing changed; so what
else the machine does meets all of them alike. Printed are medians, and by how much a row of the
largest database costs more than one of the smallest.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

from benchmarks import meter
from benchmarks.case import take
from benchmarks.databases import cluster, fill, heap_bytes, installed, new_database, workplace
from convault.embedded.server import EmbeddedPostgres, wheel_binaries
from convault.installation import open_installation
from convault.settings import load_settings


@dataclass
class Full:
    """A full backup of so many messages."""

    messages: int
    rows: int
    """of all tables"""
    heap_bytes: int
    """of the messages"""
    wall: float
    """seconds"""
    cpu: float
    """seconds, Postgres' too"""
    postgres: float
    """of these, its own"""
    peak: float
    """MiB of our process"""
    unchanged: float
    """CPU seconds of the next backup, that finds nothing changed"""
    stored_bytes: int
    parts: int
    ranges: int
    manifest_bytes: int
    index_bytes: int

    @property
    def row(self) -> float:
        """CPU microseconds a row."""
        return self.cpu / self.rows * 1e6


def measured(server: EmbeddedPostgres, url: str, folder: Path, messages: int) -> Full:
    """One round of one database. SystemExit where a backup fails."""
    catalog, store = new_database(server, "catalog"), folder / "store"
    installed(url, catalog, store)
    asked: dict[str, Any] = {
        "kind": "core", "format": "json", "level": 3, "postgres": meter.postmaster(server),
    }  # fmt: skip
    full, told = take(asked)
    again, _ = take(asked)
    repository = open_installation(load_settings()).repository
    manifest, data = repository.stored_manifest(UUID(told["backup"]))
    shutil.rmtree(store)
    return Full(
        messages=messages, rows=manifest.rows, heap_bytes=heap_bytes(url), wall=full.wall,
        cpu=full.cpu, postgres=full.postgres, peak=full.peak, unchanged=again.cpu,
        stored_bytes=manifest.stored_bytes,
        parts=sum(len(table.parts) for table in manifest.tables),
        ranges=sum(len(table.ranges) for table in manifest.tables),
        manifest_bytes=len(data),
        index_bytes=sum(entry.bytes for entry in manifest.all_indexes),
    )  # fmt: skip


def middle(rounds: list[Full]) -> Full:
    """The median of each figure."""
    figures = asdict(rounds[0])
    for name, first in figures.items():
        found = median(asdict(each)[name] for each in rounds)
        figures[name] = found if isinstance(first, float) else round(found)
    return Full(**figures)


def table(found: list[Full]) -> str:
    """Markdown, and the sentence that counts."""
    lines = [
        "| messages | CPU s | of Postgres | µs a row | of these ours | peak MiB | seconds "
        "| unchanged, CPU s | heap, bytes a message | stored | manifest, bytes a part | index "
        "| parts |",
        "|" + "---|" * 13,
    ]
    lines += [
        f"| {f.messages:,} | {f.cpu:.2f} | {f.postgres:.2f} | {f.row:.2f} | "
        f"{(f.cpu - f.postgres) / f.rows * 1e6:.2f} | {f.peak:.0f} | {f.wall:.1f} | "
        f"{f.unchanged:.2f} | {f.heap_bytes / f.messages:.0f} | "
        f"{f.stored_bytes / f.messages:.0f} | {f.manifest_bytes / f.parts:,.0f} | "
        f"{f.index_bytes / f.parts:,.0f} | {f.parts:,} |"
        for f in found
    ]
    more = (found[-1].row / found[0].row - 1) * 100
    lines.append(
        f"\nA row of {found[-1].messages:,} costs {more:+.1f} % more than one of "
        f"{found[0].messages:,}."
    )
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, nargs="+", default=[1_000_000, 3_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binaries", type=Path, help="of Postgres; the wheel's 18 unless told")
    parser.add_argument("--folder", type=Path, help="where there is room: 1 GB for each million")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with (
        workplace(given.folder) as folder,
        cluster(folder, given.binaries or wheel_binaries()) as server,
    ):
        urls = {}
        for messages in sorted(given.messages):
            urls[messages] = new_database(server, f"app_{messages}")
            fill(urls[messages], messages)
        found: dict[int, list[Full]] = {messages: [] for messages in urls}
        for number in range(given.rounds):
            for messages, url in urls.items():
                full = measured(server, url, folder / f"{messages}-{number}", messages)
                found[messages].append(full)
                print(f"round {number + 1}: {full}", flush=True)
        print(table([middle(rounds) for rounds in found.values()]))
        if given.json:
            told = [asdict(full) for rounds in found.values() for full in rounds]
            given.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
