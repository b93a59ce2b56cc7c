"""What a manifest of many parts costs: bytes, seconds, and memory of writing and reading it.

    python -m benchmarks.manifest_size --parts 1000 10000 100000

Each number of parts is measured in a process of its own, by one table of seven columns as in the
demo. Nothing is stored and no server is asked.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from convault import archive
from convault.manifest import FORMAT, Manifest, PartEntry, RangeEntry, TableEntry, part_path
from convault.models import BackupOptions, Column, SourceFacts, TableName

_TYPES = {
    "id": "bigint", "conversation_id": "uuid", "sender": "text", "body": "text",
    "metadata": "jsonb", "seen": "boolean", "created_at": "timestamp with time zone",
}  # fmt: skip
_ENCODINGS = {"bigint": "integer", "boolean": "boolean"}
TABLE = TableName("public", "messages")
TAKEN = datetime(2026, 1, 31, 2, tzinfo=UTC)


def manifest_of(parts: int) -> Manifest:
    """One part for each range of 1024 pages."""
    columns = tuple(
        Column(name, number, type_, _ENCODINGS.get(type_, "text"), True, "", "")  # type: ignore[arg-type]
        for number, (name, type_) in enumerate(_TYPES.items(), 1)
    )
    entries, ranges = [], []
    for number in range(parts):
        digest = sha256(b"%d" % number).hexdigest()
        end = None if number == parts - 1 else (number + 1) * 1024
        entries.append(
            PartEntry(
                key=f"data/messages/{digest}.ndjson.zst",
                path=part_path(TABLE, number, ".ndjson.zst"),
                sha256=digest, stored_bytes=3_200_000, plain_sha256=digest, plain_bytes=8_000_000,
                rows=19_000, first_page=number * 1024, end_page=end, ordinal=0,
            )
        )  # fmt: skip
        ranges.append(
            RangeEntry(first_page=number * 1024, end_page=end, rows=19_000, key=digest,
                       digest="0" * 16)
        )  # fmt: skip
    table = TableEntry(
        name=TABLE, kind="r", columns=columns, primary_key=("id",), parents=(),
        rows=19_000 * parts, parts=tuple(entries), ranges=tuple(ranges),
    )  # fmt: skip
    return Manifest(
        format=FORMAT, backup_id=UUID(int=1), repository_id=UUID(int=2), created_at=TAKEN,
        options=BackupOptions().to_json(), parent_id=None,
        source=SourceFacts("db:5432", "app", "1", "18.0", "1-1-1", TAKEN.isoformat(), 1, 5,
                           "0/1", 1000, TAKEN.isoformat()),
        consistency="snapshot", root=TABLE, tables=(table,), foreign_keys=(), statements=(),
        members=(),
    )  # fmt: skip


def measured(parts: int) -> dict[str, Any]:
    """In this process: bytes, and by step seconds and MiB of peak memory since the step before."""
    found: dict[str, Any] = {"parts": parts}
    made: dict[str, Any] = {}

    def step(name: str, call: Callable[[], Any]) -> None:
        begun = time.monotonic()
        made[name] = call()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found[name] = {"seconds": round(time.monotonic() - begun, 2), "peak_mib": round(peak)}

    step("build", lambda: manifest_of(parts))
    step("write", made["build"].to_bytes)
    found["bytes"] = len(made["write"])
    step("read", lambda: Manifest.from_bytes(made["write"], where="the manifest"))
    step("objects", made["read"].objects)
    step("tar", lambda: archive.size_of(made["read"], made["write"]))
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measured(arguments.one)))
        return
    print("| parts | MiB | write s | read s | tar s | peak MiB |\n|---|---|---|---|---|---|")
    for parts in arguments.parts:
        command = [sys.executable, "-m", "benchmarks.manifest_size", "--one", str(parts)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print(
            f"| {parts:,} | {told['bytes'] / 2**20:.1f} | {told['write']['seconds']} | "
            f"{told['read']['seconds']} | {told['tar']['seconds']} | {told['tar']['peak_mib']} |"
        )
        print(told, file=sys.stderr)


if __name__ == "__main__":
    main()
