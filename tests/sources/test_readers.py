"""Many threads share a snapshot; connections are reused and closed; memory stays flat."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from convault.errors import SnapshotLost
from convault.ranges.ranges import cut
from tests.patience import awaited
from tests.soak import count
from tests.sources.reading import TABLES, read, run, source, table, whole

MANY = """
    INSERT INTO messages SELECT g, g % 20 + 1, repeat('x', g % 300)
    FROM generate_series(501, 5000) g;
"""


def test_threads_read_and_count_at_the_same_time(database: str) -> None:
    run(database, TABLES + MANY)
    with source(database).snapshot() as snapshot, ThreadPoolExecutor(4) as threads:
        expected = {t.name.name: snapshot.count(t) for t in snapshot.dataset.tables}
        ranges = [
            range_
            for t in snapshot.dataset.tables
            for range_ in cut(t.name, snapshot.heap_bytes(t), snapshot.page_bytes, 5)
        ]
        found = dict.fromkeys(expected, 0)
        for range_, rows in zip(
            ranges, threads.map(lambda r: len(read(snapshot, r)), ranges), strict=True
        ):
            found[range_.table.name] += rows
        counts = threads.map(lambda t: (t.name.name, snapshot.count(t)), snapshot.dataset.tables)
        assert dict(counts) == found == expected


def backends(url: str) -> int:
    return int(str(run(url, "SELECT count(*) FROM pg_stat_activity WHERE application_name ="
                            " 'convault' AND datname = current_database()")[0][0]))  # fmt: skip


def test_connections_are_kept_between_reads_and_none_is_left_behind(database: str) -> None:
    run(database, TABLES)
    with source(database).snapshot() as snapshot:
        range_ = whole(snapshot, "messages")
        for _ in range(3):
            read(snapshot, range_)
        assert backends(database) == 2  # the exporter and one reader
        left_early = snapshot.read(range_)
        next(left_early)
        assert backends(database) == 2
        left_early.close()  # type: ignore[attr-defined]
        assert len(read(snapshot, range_)) == 500
    with pytest.raises(SnapshotLost):
        read(snapshot, range_)
    awaited(lambda: backends(database) == 0, pause=0.01)


LARGE_ROWS = count(30, 100)
"""of 10 MB each; counted here, because a test does not see the environment"""

READ_ALL = """
import json, resource, sys
from convault.models import TableName
from convault.ranges.ranges import cut
from convault.dataset.scope import Scope
from convault.sources.postgres import PostgresSource

conversations, messages = TableName("public", "conversations"), TableName("public", "messages")
scope = Scope(conversations, messages)
source = PostgresSource(sys.stdin.read(), scope=scope, lock_timeout=10)
with source.snapshot() as snapshot:
    found, bytes_, largest, start = 0, 0, 0, None
    (range_,) = cut(messages, 8192, snapshot.page_bytes, 2048)
    for batch in snapshot.read(range_):
        start = start or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found += batch.num_rows
        bytes_ += batch.nbytes
        largest = max(largest, batch.nbytes)
        del batch
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * 1024
print(json.dumps([found, bytes_, largest, grown]))
"""
"""In a process of its own, because a process only tells its peak; ru_maxrss counts KiB on Linux."""


@pytest.mark.soak
def test_memory_stays_flat_however_large_the_rows_are(database: str) -> None:
    """They all lie on one heap page, so no bound in pages or rows would hold."""
    run(database, TABLES)
    run(database, f"""
        ALTER TABLE messages ALTER body SET STORAGE EXTERNAL;
        TRUNCATE messages;
        INSERT INTO messages SELECT g, 1, repeat('0123456789', 1000000)
        FROM generate_series(1, {LARGE_ROWS}) g
    """)  # fmt: skip
    with source(database).snapshot() as snapshot:
        messages = table(snapshot, "messages")
        assert snapshot.heap_bytes(messages) == snapshot.page_bytes
        assert snapshot.total_bytes(messages) > LARGE_ROWS * 10_000_000
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL], input=database, capture_output=True, text=True, check=True
    )
    found, bytes_, largest, grown = json.loads(done.stdout)
    assert found == LARGE_ROWS
    assert bytes_ > LARGE_ROWS * 10_000_000
    assert largest < 15_000_000
    assert grown < 60_000_000, f"{grown} bytes more while {bytes_} were read"
