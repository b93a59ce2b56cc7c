"""Ranges cover a table's pages once; chunks carry every range once, in order."""

from __future__ import annotations

from itertools import pairwise, zip_longest

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convault.models import Range, TableName
from convault.ranges.ranges import SHARED_BYTES, cut, pack

MESSAGES = TableName("public", "messages")

sizes = st.integers(min_value=0, max_value=20_000)
page_sizes = st.sampled_from([1, 7, 512, 8192])
range_sizes = st.integers(min_value=1, max_value=300)


@given(heap_bytes=sizes, page_bytes=page_sizes, range_pages=range_sizes)
def test_every_page_lies_in_exactly_one_range(
    heap_bytes: int, page_bytes: int, range_pages: int
) -> None:
    pages = -(-heap_bytes // page_bytes)
    ranges = cut(MESSAGES, heap_bytes, page_bytes, range_pages)
    next_page = 0
    for range_ in ranges:
        assert range_.first_page == next_page
        if range_.end_page is not None:
            assert range_.end_page - range_.first_page == range_pages
            next_page = range_.end_page
    assert [range_.end_page is None for range_ in ranges] == [False] * (len(ranges) - 1) + (
        [True] if pages else []
    )
    assert len(ranges) == -(-pages // range_pages)


@given(pages=st.integers(1, 500), more=st.integers(0, 500), range_pages=range_sizes)
def test_borders_stay_where_they_are_while_a_table_grows(
    pages: int, more: int, range_pages: int
) -> None:
    before = cut(MESSAGES, pages * 8192, 8192, range_pages)
    after = cut(MESSAGES, (pages + more) * 8192, 8192, range_pages)
    assert after[: len(before) - 1] == before[:-1]
    assert after[len(before) - 1].first_page == before[-1].first_page


def test_a_table_without_pages_has_no_range() -> None:
    assert cut(MESSAGES, 0, 8192, 2048) == []


def test_ranges_of_a_small_and_of_a_larger_table() -> None:
    assert cut(MESSAGES, 8192, 8192, 2048) == [Range(MESSAGES, 0, None)]
    assert cut(MESSAGES, 5 * 8192, 8192, 2) == [
        Range(MESSAGES, 0, 2),
        Range(MESSAGES, 2, 4),
        Range(MESSAGES, 4, None),
    ]
    assert cut(MESSAGES, 4 * 8192, 8192, 2)[-1] == Range(MESSAGES, 2, None)


@pytest.mark.parametrize("wrong", [(-1, 8192, 1), (1, 0, 1), (1, 8192, 0)])
def test_sizes_that_no_table_has_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no table has"):
        cut(MESSAGES, *wrong)


@given(
    weights=st.lists(st.integers(0, 200), max_size=60),
    chunk_bytes=st.integers(1, 300),
)
def test_chunks_hold_every_range_once_and_are_bounded(weights: list[int], chunk_bytes: int) -> None:
    ranges = [(Range(MESSAGES, n, n + 1), weight) for n, weight in enumerate(weights)]
    chunks = pack(ranges, chunk_bytes)
    assert [r for chunk in chunks for r in chunk.ranges] == [range_ for range_, _ in ranges]
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    weight_of = dict(ranges)
    for chunk in chunks:
        assert chunk.heap_bytes == sum(weight_of[range_] for range_ in chunk.ranges)
        assert chunk.heap_bytes <= chunk_bytes or len(chunk.ranges) == 1
    for left, right in pairwise(chunks):
        assert left.heap_bytes + weight_of[right.ranges[0]] > chunk_bytes


@given(
    weights=st.lists(st.integers(0, 3 * SHARED_BYTES), max_size=60),
    workers=st.integers(1, 5),
)
@example(weights=[SHARED_BYTES // 2] * 60, workers=2)
def test_chunks_become_smaller_so_that_all_workers_end_together(
    weights: list[int], workers: int
) -> None:
    """Each is at most two thirds of a worker's share of what is left, and no smaller than it must
    be."""
    ranges = [(Range(MESSAGES, n, n + 1), weight) for n, weight in enumerate(weights)]
    chunks = pack(ranges, 64 * 2**20, workers)
    left, weight_of = sum(weights), dict(ranges)
    for chunk, following in zip_longest(chunks, chunks[1:]):
        fair = max(SHARED_BYTES, left if workers == 1 else 2 * left // (3 * workers))
        assert chunk.heap_bytes <= fair or len(chunk.ranges) == 1
        if following is not None:
            more = chunk.heap_bytes + weight_of[following.ranges[0]]
            assert more > min(fair, 64 * 2**20, -(-sum(weights) // workers))
        left -= chunk.heap_bytes
    assert left == 0


def test_little_work_is_shared_by_all_workers() -> None:
    small = [(Range(MESSAGES, n, n + 1), 100) for n in range(40)]
    assert [chunk.heap_bytes for chunk in pack(small, 64 * 2**20, 2)] == [2000, 2000]
