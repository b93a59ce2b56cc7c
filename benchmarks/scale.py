"""The constants of docs/scale.md, measured, and its model of a backup of a billion messages.

    python -m benchmarks.scale --messages 1000000

A database of so many messages is backed up in full by the core, which tells sizes; by the core with
ranges of 64 pages, which are many, through a store that counts what it is asked; and by the flow on
a Prefect server of its own, whose task runs are counted. The planner is given ranges that are made
up. JSON 3, otherwise with the default settings.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from benchmarks.core import back_up
from benchmarks.databases import cluster, fill, heap_bytes, installed, new_database, workplace
from benchmarks.manifest_size import TABLE
from benchmarks.month import Counting
from convault.embedded.server import wheel_binaries
from convault.installation import open_installation
from convault.models import BackupOptions, Part, RangeKey
from convault.ranges import ranges
from convault.settings import Settings

RANGE_PAGES, PAGE, CHUNK = 1024, 8192, 1 << 26
MODELLED = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
PLANNED = 50_000
"""ranges that the planner is given"""
OPTIONS = BackupOptions(compression_level=3)


@dataclass
class Constants:
    """What was measured."""

    heap: float
    """bytes a message"""
    stored: float
    """bytes a message"""
    rows: float
    """messages a range of 1024 pages"""
    manifest: float
    """bytes a part"""
    index: float
    """bytes a part"""
    receipt: float
    """bytes a part, of what waits for the index"""
    requests: float
    """to a bucket, a part"""
    runs: float
    """of tasks, a part, beside one a chunk"""
    planner_bytes: float
    """a range"""
    planner_seconds: float
    """of CPU, a range"""


class ByKind(Counting):
    """A store that counts what a bucket would be asked: before and behind each put it is asked what
    lies there (`convault.stores.bucket`)."""

    def put(self, key: str, data: bytes) -> bool:
        self.requests += 2
        return super().put(key, data)


def sizes(settings: Settings, url: str, messages: int) -> dict[str, float]:
    """Of a backup with the default settings."""
    receipts: list[int] = []
    record = back_up(
        settings, OPTIONS, seen=lambda parts: receipts.extend(len(p.conversations) for p in parts)
    )
    repository = open_installation(settings).repository
    manifest, data = repository.stored_manifest(record.id)
    (of_messages,) = (table for table in manifest.tables if table.name.name == "messages")
    parts = sum(len(table.parts) for table in manifest.tables)
    # What is said of the schema is the same for any number of parts.
    few = manifest.model_copy(
        update={"tables": tuple(t.model_copy(update={"parts": (), "ranges": ()})
                                for t in manifest.tables)}
    )  # fmt: skip
    heap = heap_bytes(url)
    return {
        "heap": heap / messages, "stored": manifest.stored_bytes / messages,
        "rows": messages / (heap / (RANGE_PAGES * PAGE)),
        "manifest": (len(data) - len(few.to_bytes())) / parts,
        "index": sum(entry.bytes for entry in manifest.all_indexes) / len(of_messages.parts),
        "receipt": sum(receipts) / len(of_messages.parts),
    }  # fmt: skip


def requests(settings: Settings) -> tuple[int, int]:
    """Of a backup to a bucket: parts, and requests."""
    parts: list[Part] = []

    def seen(found: Sequence[Part]) -> None:
        parts.extend(found)

    installation = open_installation(settings)
    store = ByKind(installation.repository.store)
    counted = installation.repository.through(store)
    back_up(settings, OPTIONS, replace(installation, repository=counted), seen)
    return len(parts), store.requests


def task_runs() -> tuple[int, int]:
    """Of a backup by the flow: parts, and task runs beside those of chunks, as its server has
    them, without those that the next one has, too, which finds nothing changed."""
    from cli.prefect_server import ensure_server, unwatched
    from flows.backup import backup

    ensure_server()
    with unwatched():
        full, unchanged = backup(OPTIONS), backup(OPTIONS)
    assert full.metrics is not None
    more = _runs_of(str(full.flow_run_id)) - _runs_of(str(unchanged.flow_run_id))
    return int(full.metrics["parts"]), more - int(full.metrics["chunks"])


def _runs_of(flow_run: str) -> int:
    wanted = {"flow_runs": {"id": {"any_": [flow_run]}}}
    address, before, found = f"{os.environ['PREFECT_API_URL']}/task_runs/count", -1, 0
    while found != before:  # the server writes them down some time after they ran
        time.sleep(5)
        before, found = found, int(httpx.post(address, json=wanted, timeout=60).json())
    return found


def planner(number: int) -> tuple[float, float]:
    """Bytes and CPU seconds of a range: cut, with a key, packed."""
    tracemalloc.start()
    begun = time.process_time()
    found = ranges.cut(TABLE, number * RANGE_PAGES * PAGE, PAGE, RANGE_PAGES)
    keys = [RangeKey(each, 19_000, f"{n:064x}", digest=f"{n:016x}") for n, each in enumerate(found)]
    chunks = ranges.pack([(each, RANGE_PAGES * PAGE) for each in found], CHUNK)
    seconds, held = time.process_time() - begun, tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(keys) == number
    assert len(chunks) == number * RANGE_PAGES * PAGE // CHUNK
    return held / number, seconds / number


def constants(found: Constants) -> str:
    """As a table."""
    lines = [
        ("heap of a message", f"{found.heap:.0f} bytes"),
        ("stored of it", f"{found.stored:.0f} bytes"),
        ("messages in a range of 1024 pages", f"{found.rows:,.0f}"),
        ("manifest, a part", f"{found.manifest:,.0f} bytes"),
        ("index, a part", f"{found.index / 1024:.1f} KiB"),
        ("receipt, a part", f"{found.receipt / 1024:.1f} KiB"),
        ("requests to a bucket, a part", f"{found.requests:.1f}"),
        ("task runs, a part, beside one a chunk", f"{found.runs:.1f}"),
        ("planner, a range", f"{found.planner_bytes:.0f} bytes, "
                             f"{found.planner_seconds * 1e6:.0f} µs"),
    ]  # fmt: skip
    return "\n".join(["| what | constant |", "|---|---|", *(f"| {a} | {b} |" for a, b in lines)])


def model(found: Constants) -> str:
    """What backups of `MODELLED` messages cost, as a table."""
    parts = [-(-messages // found.rows) for messages in MODELLED]
    chunks = [-(-messages * found.heap // CHUNK) for messages in MODELLED]
    lines = {
        "heap, GB": [f"{n * found.heap / 1e9:,.2f}" for n in MODELLED],
        "stored, GB": [f"{n * found.stored / 1e9:,.2f}" for n in MODELLED],
        "ranges, parts, objects": [f"{n:,.0f}" for n in parts],
        "chunks": [f"{n:,.0f}" for n in chunks],
        "task runs": [f"{n * found.runs + c:,.0f}" for n, c in zip(parts, chunks, strict=True)],
        "requests to a bucket": [f"{n * found.requests:,.0f}" for n in parts],
        "manifest, MiB": [f"{n * found.manifest / 2**20:,.1f}" for n in parts],
        "index, MiB": [f"{n * found.index / 2**20:,.1f}" for n in parts],
        "planner's memory, MiB": [f"{n * found.planner_bytes / 2**20:,.1f}" for n in parts],
        "receipts until the commit, MiB": [f"{n * found.receipt / 2**20:,.1f}" for n in parts],
    }
    head = ["| messages | " + " | ".join(f"{n:,}" for n in MODELLED) + " |",
            "|---" * (len(MODELLED) + 1) + "|"]  # fmt: skip
    return "\n".join([*head, *(f"| {name} | {' | '.join(row)} |" for name, row in lines.items())])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--binaries", type=Path, help="of Postgres; the wheel's 18 unless told")
    parser.add_argument("--folder", type=Path, help="where there is room: 1 GB for each million")
    given = parser.parse_args()
    with (
        workplace(given.folder) as folder,
        cluster(folder, given.binaries or wheel_binaries()) as server,
    ):
        os.environ |= {"PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1",
                       "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                       "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}  # fmt: skip
        url = new_database(server, "app")
        fill(url, given.messages)
        settings = installed(url, new_database(server, "catalog"), folder / "store")
        measured = sizes(settings, url, given.messages)
        small = {"CONVAULT_RANGE_PAGES": "64", "CONVAULT_CHUNK_BYTES": str(CHUNK // 16)}
        settings = installed(url, new_database(server, "many"), folder / "many", **small)
        parts, asked = requests(settings)
        for name in small:
            del os.environ[name]
        installed(url, new_database(server, "runs"), folder / "runs")
        of_flow, runs = task_runs()
        held, seconds = planner(PLANNED)
        found = Constants(
            **measured, requests=asked / parts, runs=runs / of_flow, planner_bytes=held,
            planner_seconds=seconds,
        )  # fmt: skip
    print(f"\nBy {of_flow} parts, and {parts} small ones.\n\n{constants(found)}\n\n{model(found)}")


if __name__ == "__main__":
    main()
