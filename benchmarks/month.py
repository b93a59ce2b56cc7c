"""What a month of nightly backups costs beside 30 full dumps.

    python -m benchmarks.month --messages 300000 --binaries /usr/lib/postgresql/15/bin

Each day an application adds messages, reads and edits recent ones, and removes a few of any age;
autovacuum does its part. Each night the same database is backed up by Convault (the core, without
Prefect) and by `pg_dump | zstd -5 -T2`, in turns. Told are seconds, CPU of all processes, bytes
that came out of the database, bytes stored, and requests to the store; a dump is one request.
"""

from __future__ import annotations

import argparse
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from benchmarks import meter
from benchmarks.core import back_up
from benchmarks.databases import (
    cluster,
    execute,
    filled,
    heap_bytes,
    installed,
    new_database,
    stored,
    workplace,
)
from convault.embedded.server import EmbeddedPostgres, wheel_binaries
from convault.installation import open_installation
from convault.models import BackupOptions
from convault.repository import Repository
from convault.stores.base import ObjectInfo, Store

DAY = """
INSERT INTO messages SELECT newest + g, n.conversation_id, n.sender, n.body, n.metadata,
    n.created_at + interval '1 day', NULL
    FROM (SELECT max(id) AS newest FROM messages) x, generate_series(1, {new}) g
    JOIN messages n ON n.id = g * 7 % {new};
UPDATE messages SET read_at = now() WHERE id > (SELECT max(id) FROM messages) - 2 * {new}
    AND id % 3 = 0;
UPDATE conversations SET status = 'closed' WHERE ctid IN (SELECT ctid FROM conversations
    ORDER BY created_at DESC LIMIT {new} / 60);
"""
"""New messages, those of two days read, and conversations closed."""
ERASED = "DELETE FROM messages WHERE id IN ({ids})"
NIGHTS = 30


class Counting:
    """A store that counts what is asked of it. Passes everything on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.requests = 0

    @property
    def url(self) -> str:
        return self._store.url

    def put(self, key: str, data: bytes) -> bool:
        self.requests += 1
        return self._store.put(key, data)

    def put_file(self, key: str, file: BinaryIO) -> bool:
        self.requests += 1
        return self._store.put_file(key, file)

    def replace(self, key: str, data: bytes) -> None:
        self.requests += 1
        self._store.replace(key, data)

    def get(self, key: str) -> bytes:
        self.requests += 1
        return self._store.get(key)

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        self.requests += 1
        return self._store.stream(key, start, end)

    def head(self, key: str) -> ObjectInfo:
        self.requests += 1
        return self._store.head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for number, info in enumerate(self._store.list(prefix)):
            self.requests += number % 1000 == 0  # a page of a bucket's listing has a thousand
            yield info

    def delete(self, key: str) -> None:
        self.requests += 1
        self._store.delete(key)

    def flush(self) -> None:
        self._store.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@dataclass
class Night:
    """What one way of keeping took in one night, or in all."""

    seconds: float = 0.0
    cpu: float = 0.0
    read: int = 0
    """bytes that came out of the database, about"""
    stored: int = 0
    """new bytes"""
    requests: int = 0

    def __add__(self, other: Night) -> Night:
        return Night(
            self.seconds + other.seconds, self.cpu + other.cpu, self.read + other.read,
            self.stored + other.stored, self.requests + other.requests,
        )  # fmt: skip


def main() -> None:
    """Prints a line for each night, and a table of the whole month."""
    asked = argparse.ArgumentParser(description="A month of backups beside 30 full dumps.")
    asked.add_argument("--messages", type=int, default=300_000, help="on the first day")
    asked.add_argument("--nights", type=int, default=NIGHTS)
    asked.add_argument("--binaries", type=Path, help="of Postgres; the wheel's 18 unless told")
    asked.add_argument("--folder", type=Path, help="where there is room")
    given = asked.parse_args()
    binaries = given.binaries or wheel_binaries()
    with workplace(given.folder) as folder, cluster(folder, binaries) as server:
        url = filled(server, given.messages)
        print(f"{given.messages:,} messages, {heap_bytes(url) / 2**20:,.0f} MiB of heap")
        ours, dumps = month(server, url, folder, binaries, given.messages, given.nights)
        print(f"at the end {heap_bytes(url) / 2**20:,.0f} MiB of heap\n")
        print(table(ours, dumps))


def month(
    server: EmbeddedPostgres, url: str, folder: Path, binaries: Path, messages: int, nights: int
) -> tuple[list[Night], list[Night]]:
    """The nights of Convault, and those of the dump. The changes are the same in each run."""
    store = folder / "store"
    settings = installed(url, new_database(server, "catalog"), store)
    installation = open_installation(settings)
    postgres = meter.postmaster(server)
    chosen = random.Random(1)
    ours, dumps = [], []
    for night in range(nights):
        if night:
            a_day(url, messages, chosen)
        counting = Counting(installation.repository.store)
        counted = replace(installation, repository=Repository.open(counting))
        before = stored(store)
        with meter.measured(postgres) as taken:
            record = back_up(settings, BackupOptions(), counted)
        assert record.metrics is not None
        ours.append(Night(taken.wall, taken.cpu, read_by(record.metrics), stored(store) - before,
                          counting.requests))  # fmt: skip
        dumps.append(dumped(binaries / "pg_dump", url, folder / "dump.zst", postgres))
        print(f"night {night + 1:2}  {told(ours[-1])}    dump {told(dumps[-1])}", flush=True)
    return ours, dumps


def a_day(url: str, messages: int, chosen: random.Random) -> None:
    """What an application does between two nights: 1 % more messages."""
    for statement in DAY.format(new=max(1, messages // 100)).split(";")[:-1]:
        execute(url, statement)
    # Someone asked to be forgotten: some messages of one stretch.
    first = chosen.randrange(messages)
    execute(url, ERASED.format(ids=", ".join(str(first + 3 * n) for n in range(20))))
    execute(url, "VACUUM messages")
    execute(url, "VACUUM conversations")


def read_by(metrics: dict[str, object]) -> int:
    """Plain bytes of the rows that were fetched: of those that were taken over none came."""
    plain, rows, reused = metrics["plain_bytes"], metrics["rows"], metrics["reused"]
    assert isinstance(plain, int)
    assert isinstance(rows, int)
    assert isinstance(reused, dict)
    return plain * (rows - int(reused["rows"])) // max(1, rows)


def dumped(program: Path, url: str, target: Path, postgres: int) -> Night:
    """`pg_dump | zstd -5 -T2` into a file, which is measured and removed."""
    words = f"{program} -d '{url}' | zstd -q -5 -T2 > {target}"
    taken = meter.command(words, postgres)
    plain = subprocess.run(["bash", "-c", f"zstd -dcq {target} | wc -c"], check=True,
                           capture_output=True, text=True)  # fmt: skip
    size = target.stat().st_size
    target.unlink()
    return Night(taken.wall, taken.cpu, int(plain.stdout), size, 1)


def told(night: Night) -> str:
    """In one line."""
    return (f"{night.seconds:6.2f} s {night.cpu:6.2f} s CPU {night.read / 2**20:8.1f} MiB read"
            f" {night.stored / 2**20:8.2f} MiB stored {night.requests:5} requests")  # fmt: skip


def table(ours: list[Night], dumps: list[Night]) -> str:
    """Markdown of the whole."""
    mine, theirs = sum(ours, Night()), sum(dumps, Night())
    rows = [
        ("seconds", f"{mine.seconds:.0f}", f"{theirs.seconds:.0f}"),
        ("CPU seconds, of all processes", f"{mine.cpu:.0f}", f"{theirs.cpu:.0f}"),
        ("MiB out of the database", f"{mine.read / 2**20:,.0f}", f"{theirs.read / 2**20:,.0f}"),
        ("MiB stored", f"{mine.stored / 2**20:,.0f}", f"{theirs.stored / 2**20:,.0f}"),
        ("requests to the store", f"{mine.requests:,}", f"{theirs.requests:,}"),
    ]
    head = f"| {len(ours)} nights | Convault | `pg_dump \\| zstd -5 -T2` |\n|---|---|---|"
    return "\n".join([head, *(f"| {name} | {a} | {b} |" for name, a, b in rows)])


if __name__ == "__main__":
    main()
