"""An index of more entries than are sorted at a time is the index all the same."""

from __future__ import annotations

import io

import polars as pl
import pyarrow.parquet as pq
import pytest

from benchmarks.index_size import part_of
from convault import index
from convault.models import Part


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("at_once", [1, 700, 20_000])
def test_it_says_the_same_in_the_same_order(near: bool, at_once: int) -> None:
    parts = [part_of(number, 3, near=near) for number in range(3)]
    if at_once == 1 and not near:
        parts = parts[:1]
    whole = pl.read_parquet(io.BytesIO(index.build(parts, at_once=10**9)))
    data = index.build(parts, at_once=at_once)
    assert pl.read_parquet(io.BytesIO(data)).equals(whole)
    assert data == index.build(reversed(parts), at_once=at_once)
    groups = pq.read_metadata(io.BytesIO(data))
    held = [groups.row_group(n).column(0).statistics for n in range(groups.num_row_groups)]
    known = [s for s in held if s.null_count < s.num_values + s.null_count]
    assert [s.min for s in known] == sorted(s.min for s in known)
    # Conversations and frames lie in groups of their own, or a reader would look into both.
    assert whole.height <= at_once or all(s.null_count == 0 for s in known)


def test_parts_without_conversations() -> None:
    part = part_of(0, 1, near=True)
    alone = pl.read_ipc_stream(io.BytesIO(part.conversations))
    frames = alone.filter(pl.col("conversation").is_null())
    buffer = io.BytesIO()
    frames.write_ipc_stream(buffer, compression="zstd")
    bare = Part(part.range, 0, part.key, part.sha256, 1, part.sha256, 1, 1, buffer.getvalue())
    found = pl.read_parquet(io.BytesIO(index.build([bare], at_once=10)))
    assert found["conversation"].null_count() == found.height == frames.height
    assert index.build([], at_once=1) == index.build([])
