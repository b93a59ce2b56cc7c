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
    """Every range of every table of the snapshot's dataset that has rows to read, packed into
    chunks of `chunk_bytes`.

    No retries: it asks the snapshot for nothing that is not known already.
    """
    sized = [
        (range_, bytes_of(range_, table, snapshot.content))
        for table in snapshot.content.dataset.tables
        if table.kind == "r"  # a partitioned table holds no rows itself
        for range_ in ranges.cut(
            table.name,
            snapshot.content.heap_bytes(table),
            snapshot.content.page_bytes,
            range_pages,
        )
        if snapshot.content.pages(range_) != 0
    ]
    return Load("chunks", ranges.pack(sized, chunk_bytes))


def bytes_of(range_: Range, table: Table, snapshot: Snapshot) -> int:
    """What a reader of the range may have to carry, estimated: its share of heap and TOAST."""
    pages = max(1, -(-snapshot.heap_bytes(table) // snapshot.page_bytes))
    end = pages if range_.end_page is None else range_.end_page
    read = snapshot.pages(range_)
    share = end - range_.first_page if read is None else read
    return snapshot.total_bytes(table) * share // pages
