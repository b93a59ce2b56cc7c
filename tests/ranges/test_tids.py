"""Sets of rows by where they lie."""

from __future__ import annotations

import struct

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from convault.ranges import tids

ROWS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 291)), max_size=80)


def series(rows: list[tuple[int, int]]) -> pl.Series:
    return tids.together(pl.Series("row", [p << 16 | o for p, o in rows], dtype=pl.UInt64))


def copied(rows: list[tuple[int, int, int]]) -> bytes:
    """As the manual says that a binary COPY of (oid, tid) looks."""
    fields = b"".join(
        struct.pack(">hiIiIH", 2, 4, oid, 6, page, place) for oid, page, place in rows
    )
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + fields + b"\xff\xff"


@given(ROWS, st.integers(1, 50), st.lists(st.integers(1, 3), min_size=80, max_size=80))
def test_what_copy_sends_is_read_however_it_is_cut(
    rows: list[tuple[int, int]], size: int, tables: list[int]
) -> None:
    sent = [(oid, *row) for oid, row in zip(tables, rows, strict=False)]
    data = copied(sent)
    found = tids.decoded(data[n : n + size] for n in range(0, len(data), size))
    wanted: dict[int, set[int]] = {}
    for oid, page, place in sent:
        wanted.setdefault(oid, set()).add(page << 16 | place)
    assert {oid: rows.to_list() for oid, rows in found.items()} == {
        oid: sorted(numbers) for oid, numbers in wanted.items()
    }


@given(ROWS, ROWS)
def test_sets(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    a, b = series(left), series(right)
    assert tids.new_in(a, b).to_list() == sorted(set(a) - set(b))
    assert tids.together(a, b).to_list() == sorted(set(a) | set(b))


@given(ROWS, st.integers(0, 2**32), st.one_of(st.none(), st.integers(0, 2**32)))
def test_between_pages(rows: list[tuple[int, int]], first: int, pages: int | None) -> None:
    end = None if pages is None else first + pages
    wanted = {(p, o) for p, o in rows if first <= p and (end is None or p < end)}
    found = tids.between(series(rows), first, end)
    assert found.to_list() == sorted(p << 16 | o for p, o in wanted)
    assert tids.pages(found) == len({p for p, _ in wanted})


@given(ROWS)
def test_a_literal_names_each_row(rows: list[tuple[int, int]]) -> None:
    listed = ",".join(f'"({p},{o})"' for p, o in sorted(set(rows)))
    assert tids.literal(series(rows)) == f"'{{{listed}}}'::pg_catalog.tid[]"


def test_a_set_travels_as_bytes() -> None:
    rows = pl.Series("row", [1, 65536, 2**48 - 1], dtype=pl.UInt64)
    for some in (rows, rows.slice(1, 1), rows.slice(3), tids.NONE):
        data = tids.to_bytes(some)
        assert len(data) == 8 * len(some)
        assert tids.from_bytes(data).equals(some)
