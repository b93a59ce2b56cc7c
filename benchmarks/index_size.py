"""What the index of a backup of many parts costs: bytes, seconds, and memory of making it.

    python -m benchmarks.index_size --parts 100 400

Each part has 19,000 rows, as a range of 1024 pages has, of conversations of 50 rows that lie `near`
(a conversation in one part) or `far` apart (its rows in any part). Nothing is stored and no server
is asked.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from hashlib import sha256
from random import Random
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa

from convault import index
from convault.formats.base import Document, Frame
from convault.models import Part, Range, TableName

ROWS, OF_ONE, FRAME = 19_000, 50, 150
"""rows of a part, of a conversation, and of a frame of 64 KiB"""
TABLE = TableName("public", "messages")


def part_of(number: int, parts: int, *, near: bool) -> Part:
    """A receipt with the index of one part; a frame's bytes are made up."""
    chance = Random(number)
    own = ROWS // OF_ONE
    first, count = (number * own, own) if near else (0, parts * own)
    keys = sorted(str(UUID(int=(first + chance.randrange(count)) << 64)) for _ in range(ROWS))
    frames = tuple(
        Frame(start * 100, FRAME * 100, min(FRAME, ROWS - start)) for start in range(0, ROWS, FRAME)
    )
    data = chance.randbytes(frames[-1].offset + frames[-1].length)
    document = Document(data, ROWS, frames)
    ids = [str(number * ROWS + row) for row in range(ROWS)]
    bounds = tuple((ids[f.offset // 100], ids[f.offset // 100 + f.rows - 1]) for f in frames)
    found = index.runs(pa.chunked_array([keys]))
    digest = sha256(b"%d" % number).hexdigest()
    return Part(
        Range(TABLE, number * 1024, (number + 1) * 1024), 0, f"data/messages/{digest}.ndjson.zst",
        digest, len(data), digest, len(data), ROWS,
        index.entries(index.Grouped(document, found, bounds), document),
    )  # fmt: skip


def measured(parts: int, *, near: bool) -> dict[str, Any]:
    """In this process: bytes of all receipts and of the index, seconds, and MiB of peak memory."""
    made = [part_of(number, parts, near=near) for number in range(parts)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.monotonic()
    data = index.build(made)
    return {
        "receipts": sum(len(part.conversations) for part in made) / parts,
        "index": len(data) / parts,
        "rows": pl.read_parquet(data).height / parts,
        "seconds": time.monotonic() - begun,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measured(arguments.one[0], near=bool(arguments.one[1]))))
        return
    print("| parts | conversations | receipt KiB a part | index KiB a part | s | MiB to build |")
    print("|---|---|---|---|---|---|")
    for parts in arguments.parts:
        for near in (True, False):
            command = [sys.executable, "-m", "benchmarks.index_size", "--one", str(parts)]
            ran = subprocess.run([*command, str(int(near))], check=True, capture_output=True)
            told = json.loads(ran.stdout)
            print(
                f"| {parts} | {'near' if near else 'far'} | {told['receipts'] / 1024:.1f} | "
                f"{told['index'] / 1024:.1f} | {told['seconds']:.2f} | {told['mib']:.0f} |"
            )


if __name__ == "__main__":
    main()
