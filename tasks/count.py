"""Count tables in the snapshot that their rows were read from, and digest what was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from prefect import task

from convault import row_digest
from convault.errors import IncompleteBackup
from convault.models import RangeKey, Table
from convault.progress import report
from convault.row_digest import Counted
from convault.sources.base import Snapshot
from tasks.boundary import contained
from tasks.chunk import Plan
from tasks.load import Load
from tasks.policy import POLICY


@task(name="count", task_run_name="count {table.name}", retries=4, **POLICY)
@contained
def count(
    snapshot: Load[Snapshot], table: Table, ranges: Load[Sequence[RangeKey]] | None = None
) -> Counted:
    """count(*) without page ranges: what the parts are held against; and the digest of the rows,
    for drills: the sum of those of its `ranges`, which `digest` has made, or of the whole table
    where they have none."""
    counted = counted_in(snapshot.content, table, () if ranges is None else ranges.content)
    report("count", str(table.name), done=counted.rows, total=counted.rows)
    return counted


@task(name="digest", retries=4, **POLICY)
@contained
def digest(snapshot: Load[Snapshot], plan: Load[Plan], workers: int) -> Load[Plan]:
    """The plan, each range that was read with the digest of its rows. Of a table some of whose
    ranges have no key it is made as a whole (`count`)."""
    keys = list(digests(snapshot.content, plan.content.keys, workers))
    return Load("plan", plan.content.with_keys(keys))


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
    """See `digest`; so many `workers` at a time."""
    keyless = {key.range.table for key in keys if key.key is None}

    def made(key: RangeKey) -> RangeKey:
        if key.taken_over or key.range.table in keyless:
            return key
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
