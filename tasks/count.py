"""Count tables in the snapshot that their rows were read from, and digest what was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from prefect import task

from convault.errors import IncompleteBackup
from convault.models import RangeKey, Table, TableName
from convault.progress import report
from convault.ranges import row_digest
from convault.ranges.row_digest import Counted
from convault.sources.base import Snapshot
from tasks.boundary import contained
from tasks.chunk import Plan
from tasks.load import Load
from tasks.policy import POLICY

Counts = dict[TableName, Counted]
"""of every table of a snapshot"""


@task(name="count", task_run_name="count all tables", retries=4, **POLICY)
@contained
def count(snapshot: Load[Snapshot], plan: Load[Plan], workers: int) -> Load[tuple[Plan, Counts]]:
    """The plan, each range that was read with the digest of its rows; and of each table count(*)
    without page ranges, which the parts are held against, and the digest of its rows, for drills:
    the sum of those of its ranges, or, where some of them have no key, of the whole table."""
    keys = list(digests(snapshot.content, plan.content.keys, workers))
    digested = plan.content.with_keys(keys)
    counts = {}
    for table in snapshot.content.dataset.tables:
        counts[table.name] = counted_in(snapshot.content, table, digested.keys_of(table))
        rows = counts[table.name].rows
        report("count", str(table.name), done=rows, total=rows)
    return Load("plan", (digested, counts))


def counted_in(snapshot: Snapshot, table: Table, ranges: Sequence[RangeKey]) -> Counted:
    """See `count`."""
    if not digested(ranges):
        return snapshot.counted(table)
    digests = [range_.digest for range_ in ranges]
    return Counted(snapshot.count(table), row_digest.added(digests))


def digested(ranges: Sequence[RangeKey]) -> bool:
    """Whether a table is digested range by range."""
    return bool(ranges) and all(range_.key is not None for range_ in ranges)


def digests(snapshot: Snapshot, keys: Sequence[RangeKey], workers: int) -> Iterator[RangeKey]:
    """See `count`; so many `workers` at a time."""
    keyless = {key.range.table for key in keys if key.key is None}

    def made(key: RangeKey) -> RangeKey:
        if key.taken_over or key.range.table in keyless:
            return key
        if key.digest is not None:
            return key  # by the scan that its key was made of
        counted = snapshot.range_digest(key.range)
        if counted.rows != key.rows:
            raise IncompleteBackup(
                f"{key.range} has {counted.rows} rows, and had {key.rows} in the same snapshot. "
                "Nothing was committed: start the backup again, and report this if it comes back.",
                table=key.range.table,
            )
        return replace(key, digest=counted.digest)

    with ThreadPoolExecutor(workers, thread_name_prefix="digests") as pool:
        try:
            yield from pool.map(made, keys)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
