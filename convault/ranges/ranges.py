"""Cut tables into ranges of heap pages, and pack ranges into chunks of work. All of it is pure."""

from __future__ import annotations

from collections.abc import Sequence

from convault.models import Chunk, Range, TableName

SHARED_BYTES = 16 * 2**20
"""Less than this is not divided any further: a chunk of its own costs more than it brings."""


def cut(table: TableName, heap_bytes: int, page_bytes: int, range_pages: int) -> list[Range]:
    """Ranges of `range_pages` pages that cover every page of `table` exactly once, in order.

    Borders lie at multiples of `range_pages`, so that they stay where they are while a table grows.
    The last range is open-ended. A table without pages has no range: `heap_bytes` is measured after
    the snapshot was fixed and under a lock that keeps pages from being given back, and a row that
    the snapshot shows had its page before; so no page means no row. (`count(*)` checks it.)

    Raises ValueError for sizes that no table has.
    """
    if heap_bytes < 0 or page_bytes < 1 or range_pages < 1:
        raise ValueError(
            f"no table has {heap_bytes} bytes in pages of {page_bytes} and ranges of {range_pages}"
        )
    pages = -(-heap_bytes // page_bytes)
    starts = range(0, pages, range_pages)
    return [
        Range(table, start, start + range_pages if start + range_pages < pages else None)
        for start in starts
    ]


def pack(ranges: Sequence[tuple[Range, int]], chunk_bytes: int, workers: int = 1) -> list[Chunk]:
    """Chunks of at most `chunk_bytes` (bytes that each range is estimated to hold are given beside
    it), in the order of `ranges`; a range that is larger makes a chunk of its own.

    Neighbours stay together, so that a worker reads a table's pages in order. The more is given
    away, the smaller chunks become, so that of several `workers` none is at work for long when the
    others have nothing left.
    """
    chunks: list[Chunk] = []
    left = sum(size for _, size in ranges)
    least = min(SHARED_BYTES, -(-left // workers))
    waiting = list(reversed(ranges))
    while waiting:
        fair = left if workers == 1 else 2 * left // (3 * workers)
        most = min(chunk_bytes, max(least, fair))
        range_, total = waiting.pop()
        taken = [range_]
        while waiting and total + waiting[-1][1] <= most:
            range_, size = waiting.pop()
            taken.append(range_)
            total += size
        chunks.append(Chunk(len(chunks), tuple(taken), total))
        left -= total
    return chunks
