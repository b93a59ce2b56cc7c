"""Plan the work of one snapshot: tables into ranges of heap pages, ranges into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from prefect import task

from convault.layout import SHARED_INDEXES, parts_of
from convault.models import (
    MAX_PART_BYTES,
    BackupOptions,
    Chunk,
    Range,
    RangeKey,
    Table,
)
from convault.progress import report
from convault.ranges import ranges
from convault.ranges.parent import Parentage
from convault.ranges.range_keys import obstacle, range_key, writing
from convault.ranges.reuse import Taking, take_over
from convault.repository import Repository
from convault.sources.base import Snapshot
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one snapshot."""

    chunks: tuple[Chunk, ...]
    """of the ranges that are read"""
    taking: Taking
    """every range with its key, of a filtered backup without one; and what need not be read"""
    range_pages: int

    @property
    def keys(self) -> tuple[RangeKey, ...]:
        """Of every range, in the order of the chunks."""
        return self.taking.keys

    def with_keys(self, keys: Sequence[RangeKey]) -> Plan:
        """The same plan with other keys of its ranges."""
        return replace(self, taking=replace(self.taking, keys=tuple(keys)))

    def keys_of(self, table: Table) -> tuple[RangeKey, ...]:
        """Of the table's own."""
        return tuple(key for key in self.keys if key.range.table == table.name)


@task(name="chunk", retries=4, **POLICY)
@contained
def chunk(
    snapshot: Load[Snapshot],
    options: BackupOptions,
    parentage: Load[Parentage],
    repository: Repository,
    *,
    recipients: Sequence[str],
    range_pages: int,
    chunk_bytes: int,
    part_bytes: int,
    workers: int,
) -> Load[Plan]:
    """Every range of every table of the snapshot's dataset with its key; those of the parent that
    are unchanged are taken over, the others, if they have rows, packed into chunks of
    `chunk_bytes`. Parts are encrypted to the `recipients`, if there are any. Keys are asked for by
    so many `workers` at a time."""
    found = plan(
        snapshot.content, options, parentage.content, repository, recipients=recipients,
        range_pages=range_pages, chunk_bytes=chunk_bytes, part_bytes=part_bytes, workers=workers,
    )  # fmt: skip
    return Load("plan", found)


def plan(
    seen: Snapshot, options: BackupOptions, parentage: Parentage, repository: Repository, *,
    recipients: Sequence[str], range_pages: int, chunk_bytes: int, part_bytes: int, workers: int,
) -> Plan:  # fmt: skip
    """See `chunk`."""
    pages = parentage.range_pages(range_pages)
    sized = [
        (range_, bytes_of(range_, table, seen))
        for table in seen.dataset.tables
        if table.kind == "r"  # a partitioned table holds no rows itself
        for range_ in ranges_of(table, seen, pages)
    ]
    found = [range_ for range_, _ in sized]
    # What is read in any case is digested by the same scan.
    whole = parentage.parent is None or bool(parentage.full_because)
    keys = keys_of(seen, options, found, workers, recipients, part_bytes, digested=whole)
    taking = take_over(
        parentage, seen.facts, seen.dataset, keys, readers=recipients,
        sizes=_sizes(parentage, repository),
    )  # fmt: skip
    to_read = taking.to_read
    wanted = [
        (range_, size) for range_, size in sized if range_ in to_read and seen.pages(range_) != 0
    ]
    return Plan(tuple(ranges.pack(wanted, chunk_bytes, workers)), taking, pages)


def _sizes(parentage: Parentage, repository: Repository) -> dict[str, int]:
    """Of the objects that may be taken over: what is gone is read again."""
    if parentage.parent is None or parentage.full_because:
        return {}
    tables = [table.name for table in parentage.parent.tables if table.parts]
    folders = [SHARED_INDEXES, *map(parts_of, tables)]
    return {info.key: info.size for folder in folders for info in repository.store.list(folder)}


def ranges_of(table: Table, snapshot: Snapshot, range_pages: int) -> Sequence[Range]:
    """Of a table that is kept for reference one range: which of its rows are wanted takes a look
    at all the tables that reference it."""
    own = snapshot.ranges(table)
    if own is not None:
        return own
    heap_bytes = snapshot.heap_bytes(table)
    if table.reference_only:
        return [Range(table.name, 0, None)] if heap_bytes else []
    return ranges.cut(table.name, heap_bytes, snapshot.page_bytes, range_pages)


def bytes_of(range_: Range, table: Table, snapshot: Snapshot) -> int:
    """What a reader of the range may have to carry, estimated: its share of heap and TOAST."""
    pages = max(1, -(-snapshot.heap_bytes(table) // snapshot.page_bytes))
    end = pages if range_.end_page is None else range_.end_page
    read = snapshot.pages(range_)
    share = end - range_.first_page if read is None else read
    return snapshot.total_bytes(table) * share // pages


def keys_of(
    snapshot: Snapshot,
    options: BackupOptions,
    found: Sequence[Range],
    workers: int,
    recipients: Sequence[str] = (),
    part_bytes: int = MAX_PART_BYTES,
    *,
    digested: bool = False,
) -> list[RangeKey]:
    """The key of each range, asked for by so many `workers` at a time; the first error ends it.
    `digested`: with the digest of its rows."""
    if snapshot.selection is not None:
        return [RangeKey(range_, reason="only some of its rows were selected") for range_ in found]
    written = writing(options, recipients, part_bytes)

    def key(range_: Range) -> RangeKey:
        provenance = snapshot.provenance(snapshot.dataset.table(range_.table))
        reason = obstacle(snapshot.facts, provenance)
        if reason:
            return RangeKey(range_, reason=reason)
        versions = snapshot.fingerprint(range_, digested=digested)
        value = range_key(snapshot.facts, provenance, written, range_, versions)
        return RangeKey(range_, versions.rows, value, digest=versions.digest)

    keys: list[RangeKey] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="keys") as pool:
        try:
            for made in pool.map(key, found):
                keys.append(made)
                report("keys", str(made.range), done=len(keys), total=len(found), unit="ranges")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return keys
