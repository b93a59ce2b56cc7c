"""What a manifest of many parts costs: bytes, CPU seconds, and memory of writing and reading it.

    python -m benchmarks.manifest_size --parts 1000 10000 100000

One table of seven columns as in the demo. A process of its own writes the manifest as a commit
does: made, signed, read again, put into a folder, the tar's size told. Another reads it as a
restore, a verification or a download begins: out of the folder, its signature proven, checked, its
objects listed. Peaks are of either process, above what it had before it began.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from convault import commit
from convault.archive import composed as archive
from convault.manifest import FORMAT, Manifest, PartEntry, RangeEntry, TableEntry, part_path
from convault.models import BackupOptions, Column, SourceFacts, TableName
from convault.repository import Repository
from convault.signing.signature import Signature, SigningKeys, judged
from convault.stores import open_store

_TYPES = {
    "id": "bigint", "conversation_id": "uuid", "sender": "text", "body": "text",
    "metadata": "jsonb", "seen": "boolean", "created_at": "timestamp with time zone",
}  # fmt: skip
_ENCODINGS = {"bigint": "integer", "boolean": "boolean"}
TABLE = TableName("public", "messages")
BACKUP = UUID(int=1)
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
        format=FORMAT, backup_id=BACKUP, repository_id=UUID(int=2), created_at=TAKEN,
        options=BackupOptions().to_json(), parent_id=None,
        source=SourceFacts("db:5432", "app", "1", "18.0", "1-1-1", TAKEN.isoformat(), 1, 5,
                           "0/1", 1000, TAKEN.isoformat()),
        consistency="snapshot", root=TABLE, tables=(table,), foreign_keys=(), statements=(),
        members=(),
    )  # fmt: skip


KEYS = SigningKeys((bytes(range(32)),))


def written(parts: int, folder: Path) -> dict[str, Any]:
    """In this process: what a commit does with its manifest."""
    repository = Repository.create(open_store(folder.as_uri()))
    empty = peak()
    manifest = manifest_of(parts).model_copy(update={"repository_id": repository.repository_id})
    begun, made = time.process_time(), peak()
    stored = manifest.signed(KEYS)
    commit.require_readable(manifest, stored)
    repository.put_manifest(manifest, KEYS, stored)
    archive.size_of(manifest, stored)
    return {"bytes": len(stored), "write": time.process_time() - begun, "made": made - empty,
            "write_peak": peak() - empty}  # fmt: skip


def read(folder: Path) -> dict[str, Any]:
    """In this process: what comes before a restore."""
    repository = Repository.open(open_store(folder.as_uri()))
    begun, empty = time.process_time(), peak()
    manifest, stored = repository.stored_manifest(BACKUP)
    assert judged(stored, KEYS, what="it") is Signature.SIGNED
    manifest.objects()
    return {"read": time.process_time() - begun, "read_peak": peak() - empty}


def peak() -> float:
    """MiB that this process has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        folder, *parts = arguments.one
        found = written(int(parts[0]), Path(folder)) if parts else read(Path(folder))
        print(json.dumps(found))
        return
    print("| parts | MiB | bytes a part | entries MiB | write CPU s | peak MiB | read CPU s "
          "| peak MiB |\n" + "|---" * 8 + "|")  # fmt: skip
    for parts in arguments.parts:
        with tempfile.TemporaryDirectory() as folder:
            told = _told(folder, str(parts)) | _told(folder)
        print(
            f"| {parts:,} | {told['bytes'] / 2**20:.1f} | {told['bytes'] / parts:,.0f} | "
            f"{told['made']:.0f} | {told['write']:.2f} | {told['write_peak']:.0f} | "
            f"{told['read']:.2f} | {told['read_peak']:.0f} |"
        )


def _told(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.manifest_size", "--one", *words]
    told: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout
    )
    return told


if __name__ == "__main__":
    main()
