"""What an incremental backup costs beside `pg_dump | zstd -5 -T2`, on a database that this makes.

    python -m benchmarks.incremental --messages 1000000 --binaries /usr/lib/postgresql/15/bin

Prints a table: seconds as the run's own clock counts them (the Prefect server is started before),
how many times faster than the dump that is, new bytes in the store (manifest, index and all), and
their share of what the full backup stored. The dump and the backups take turns on one machine, so
that only their ratios mean something.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.databases import (
    NEW,
    NEWEST,
    SCATTERED,
    cluster,
    execute,
    filled,
    heap_bytes,
    installed,
    new_database,
    stored,
    workplace,
)
from cli.prefect_server import ensure_server
from convault.embedded.server import EmbeddedPostgres, wheel_binaries
from convault.models import BackupOptions


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    seconds: float
    """by the run's own clock"""
    flow_seconds: float
    """until the flow was over: Prefect waits for its heart to beat once more, a second at most"""
    new_bytes: int
    steps: dict[str, float]
    reused: dict[str, Any]


def main() -> None:
    """Run it; see the module."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    asked.add_argument("--messages", type=int, default=1_000_000)
    asked.add_argument("--binaries", type=Path, help="of Postgres; the wheel's 18 unless told")
    asked.add_argument("--range-pages", type=int, nargs="+", default=[256, 512, 1024, 2048])
    asked.add_argument("--repeat", type=int, default=3)
    asked.add_argument("--folder", type=Path, default=None, help="where there is room")
    given = asked.parse_args()
    with workplace(given.folder) as folder, cluster(folder, given.binaries) as server:
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
        url = filled(server, given.messages)
        print(f"{given.messages:,} messages, {heap_bytes(url) / 2**20:,.0f} MiB of heap")
        ensure_server()
        for number, pages in enumerate(given.range_pages):
            measure(server, url, folder / f"store{number}", pages, given)


def measure(
    server: EmbeddedPostgres, url: str, store: Path, pages: int, given: argparse.Namespace
) -> None:
    """One range size: full, nothing changed, the newest 1 % changed, 1 % scattered changed."""
    catalog = new_database(server, f"catalog_{pages}")
    installed(url, catalog, store, CONVAULT_RANGE_PAGES=str(pages))
    program = (given.binaries or wheel_binaries()) / "pg_dump"
    dump = [dumped(program, url, store) for _ in range(given.repeat)]
    cases = [run("full", store)]
    cases += [run("nothing changed", store) for _ in range(given.repeat)]
    dump.append(dumped(program, url, store))
    execute(url, NEWEST.format(messages=given.messages))
    cases.append(run("newest 1 % changed", store))
    execute(url, NEW.format(messages=given.messages))
    cases.append(run("1 % new", store))
    # Others for each size: rows that were updated before lie together at the end.
    execute(url, SCATTERED.format(number=pages.bit_length()))
    cases.append(run("1 % scattered", store))
    cases.append(run("full again", store, BackupOptions(full=True)))
    told(pages, statistics.median(dump), cases)


def told(pages: int, dump: float, cases: list[Case]) -> None:
    """Print the table of one range size."""
    whole = cases[0].new_bytes
    print(f"\nranges of {pages} pages; pg_dump | zstd -5 -T2 took {dump:.2f} s (median)")
    sys.stdout.flush()
    for case in cases:
        reused = f"{case.reused.get('ranges')}/{case.reused.get('of_ranges')} ranges"
        steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in case.steps.items())
        print(
            f"{case.name:20} {case.seconds:7.2f} s (flow {case.flow_seconds:.2f} s)"
            f" {dump / case.seconds:6.1f}x"
            f" {case.new_bytes / 2**20:9.2f} MiB {100 * case.new_bytes / whole:6.2f} %"
            f"  {reused}  ({steps})"
        )


def run(name: str, store: Path, options: BackupOptions | None = None) -> Case:
    """One backup by the flow."""
    from flows.backup import backup

    before = stored(store)
    started = time.monotonic()
    record = backup(options or BackupOptions())
    seconds = time.monotonic() - started
    assert record.metrics is not None
    steps = record.metrics["seconds"]
    return Case(name, steps["total"], seconds, stored(store) - before, steps,
                record.metrics.get("reused", {}))  # fmt: skip


def dumped(program: Path, url: str, folder: Path) -> float:
    """Seconds of `pg_dump | zstd -5 -T2` into a file."""
    target = folder.parent / "dump.zst"
    started = time.monotonic()
    with target.open("wb") as output:
        dump = subprocess.Popen([program, "-d", url], stdout=subprocess.PIPE)
        subprocess.run(["zstd", "-q", "-5", "-T2"], stdin=dump.stdout, stdout=output, check=True)
        if dump.wait() != 0:
            raise SystemExit("pg_dump failed")
    seconds = time.monotonic() - started
    target.unlink()
    return seconds


if __name__ == "__main__":
    main()
