"""A reader goes on where it was, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.errors import SourceUnavailable
from convault.models import Range, TableName
from convault.ranges.pieces import RangeReader

RANGE = Range(TableName("public", "messages"), 0, None)


class Unsteady:
    """Stands in for a snapshot whose connection fails at chosen rows: a real one cannot be made to
    fail between two given batches."""

    def __init__(self, batches: list[int], failures: list[int]) -> None:
        self._batches = batches
        self._failures = failures

    def read(self, range_: Range, *, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
        first = 0
        for rows in self._batches:
            numbers = range(max(first, skip_rows), first + rows)
            first += rows
            if self._failures and first > self._failures[0]:
                self._failures.pop(0)
                raise SourceUnavailable("lost")
            if len(numbers):
                yield pa.record_batch({"n": pa.array(numbers, pa.int64())})


@given(
    batches=st.lists(st.integers(1, 20), max_size=15),
    failures=st.lists(st.integers(0, 200), max_size=6),
    piece_rows=st.integers(1, 60),
)
def test_every_row_comes_once_and_in_order(
    batches: list[int], failures: list[int], piece_rows: int
) -> None:
    reader = RangeReader(Unsteady(batches, failures), RANGE, piece_rows * 8)  # type: ignore[arg-type]
    seen: list[int] = []
    while not reader.finished:
        try:
            piece = reader.next_piece()
        except SourceUnavailable:
            continue
        if piece is None:
            break
        got = piece["n"].to_pylist()
        assert len(got) <= piece_rows + 19  # a batch is not cut
        seen += got
    assert seen == list(range(sum(batches)))
    assert reader.finished


def test_an_empty_range_has_no_piece() -> None:
    reader = RangeReader(Unsteady([], []), RANGE, 100)  # type: ignore[arg-type]
    assert reader.next_piece() is None
    assert reader.finished


def test_the_stream_is_closed_when_the_reader_is() -> None:
    closed = []

    class Watched:
        def read(self, range_: Range, *, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
            try:
                while True:
                    yield pa.record_batch({"n": pa.array([1])})
            finally:
                closed.append(True)

    reader = RangeReader(Watched(), RANGE, 8)  # type: ignore[arg-type]
    reader.next_piece()
    assert not closed
    reader.close()
    reader.close()
    assert closed == [True]


def test_its_name_tells_table_pages_and_piece() -> None:
    reader = RangeReader(Unsteady([5, 5], []), RANGE, 8)  # type: ignore[arg-type]
    assert str(reader) == "public.messages pages 0-end #0"
    reader.next_piece()
    assert str(reader) == "public.messages pages 0-end #1"


@pytest.mark.parametrize("size", [1, 10_000_000])
def test_a_piece_holds_at_least_one_batch_and_at_most_the_range(size: int) -> None:
    reader = RangeReader(Unsteady([5, 5, 5], []), RANGE, size)  # type: ignore[arg-type]
    piece = reader.next_piece()
    assert piece is not None
    assert piece.num_rows == (5 if size == 1 else 15)
