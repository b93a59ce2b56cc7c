"""Plan the work of one snapshot: tables into ranges of heap pages, ranges into chunks."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task

from convault import ranges
from convault.models import Chunk, Range, Table
from convault.sources.base import Snapshot
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY, TAGS


@task(name="chunk", tags=TAGS, retries=0, **POLICY)
@contained
def chunk(snapshot: Load[Snapshot], range_pages: int, chunk_bytes: int) -> Load[Sequence[Chunk]]:
    """Every range of every table of the snapshot's dataset, packed into chunks of `chunk_bytes`.

    No retries: it asks the snapshot for nothing that is not known already.
    """
    sized = [
        (range_, bytes_of(range_, table, snapshot.content))
        for table in snapshot.content.dataset.tables
        if table.kind == "r"  # a partitioned table holds no rows itself
        for range_ in ranges_of(table, snapshot.content, range_pages)
    ]
    return Load("chunks", ranges.pack(sized, chunk_bytes))


def ranges_of(table: Table, snapshot: Snapshot, range_pages: int) -> Sequence[Range]:
    """Of a table that is kept for reference one range: which of its rows are wanted takes a look
    at all the tables that reference it."""
    heap_bytes = snapshot.heap_bytes(table)
    if table.reference_only:
        return [Range(table.name, 0, None)] if heap_bytes else []
    return ranges.cut(table.name, heap_bytes, snapshot.page_bytes, range_pages)


def bytes_of(range_: Range, table: Table, snapshot: Snapshot) -> int:
    """What a reader of the range may have to carry, estimated: its share of heap and TOAST."""
    pages = max(1, -(-snapshot.heap_bytes(table) // snapshot.page_bytes))
    end = pages if range_.end_page is None else range_.end_page
    return snapshot.total_bytes(table) * (end - range_.first_page) // pages
