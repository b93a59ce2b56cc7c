"""Sets of rows by where they lie: page and place of each as one number, 8 bytes a row. Pure.

A row's number is `page << 16 | place`, so that rows in the order of their numbers are in the order
of their pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl
import pyarrow as pa

NONE = pl.Series("row", [], dtype=pl.UInt64)

_HEADER = 19
"""bytes before the rows of a binary COPY; the 2 behind them are less than a row"""
_RECORD = 20
"""Bytes of one row of a binary COPY of (oid, tid): the number of fields (2), 4 and an oid (4 + 4),
6 and a tid (4 + 4 for the page + 2 for the place). Source: the manual's page on COPY, tidsend()."""


def decoded(blocks: Iterable[bytes]) -> dict[int, pl.Series]:
    """What a `COPY (SELECT oid, tid) TO STDOUT (FORMAT BINARY)` sent: rows by table, sorted, each
    once."""
    found: dict[int, list[pl.Series]] = {}
    for records in _records(blocks):
        table = _number(records, 6, 4)
        row = _number(records, 14, 4) * 65536 + _number(records, 18, 2)
        frame = pl.DataFrame({"table": table, "row": row})
        for (oid,), rows in frame.partition_by("table", as_dict=True).items():
            found.setdefault(int(oid), []).append(rows["row"])
    return {oid: pl.concat(rows).unique().sort() for oid, rows in found.items()}


def new_in(found: pl.Series, known: pl.Series) -> pl.Series:
    """Those of `found` that `known` lacks; both are sorted."""
    if not len(known):
        return found
    frame = found.to_frame("row").join(known.to_frame("row"), on="row", how="anti")
    return frame["row"].sort()


def together(*sets: pl.Series) -> pl.Series:
    """All of the rows, sorted, each once."""
    return pl.concat([NONE, *sets]).unique().sort()


def between(rows: pl.Series, first_page: int, end_page: int | None) -> pl.Series:
    """Those on the pages [first_page, end_page); None is to the end. `rows` are sorted."""
    begin = rows.search_sorted(first_page << 16, side="left")
    end = len(rows) if end_page is None else rows.search_sorted(end_page << 16, side="left")
    return rows.slice(begin, end - begin)


def to_bytes(rows: pl.Series) -> bytes:
    """For another process: 8 bytes a row."""
    numbers = rows.to_arrow()
    data, start = numbers.buffers()[1], numbers.offset * 8
    return b"" if data is None else data.to_pybytes()[start : start + len(numbers) * 8]


def from_bytes(data: bytes) -> pl.Series:
    """What `to_bytes` gave."""
    numbers = pa.Array.from_buffers(pa.uint64(), len(data) // 8, [None, pa.py_buffer(data)])
    return pl.Series("row", numbers, dtype=pl.UInt64)


def pages(rows: pl.Series) -> int:
    """How many pages they lie on."""
    return (rows // 65536).n_unique()


def slices(rows: pl.Series, size: int) -> Iterator[pl.Series]:
    """The rows, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows.slice(start, size)


def literal(rows: pl.Series) -> str:
    """A tid[] as SQL takes it."""
    frame = pl.DataFrame({"page": rows // 65536, "place": rows % 65536})
    written = frame.select(pl.format('"({},{})"', "page", "place").str.join(",")).item()
    return f"'{{{written or ''}}}'::pg_catalog.tid[]"


def _records(blocks: Iterable[bytes], at_a_time: int = 1 << 16) -> Iterator[pl.Series]:
    """Whole rows of the stream, about `at_a_time` together."""
    buffer = bytearray()
    skipped = False
    for block in blocks:
        buffer += block
        if not skipped and len(buffer) >= _HEADER:
            del buffer[:_HEADER]
            skipped = True
        if len(buffer) >= at_a_time * _RECORD:
            whole = len(buffer) // _RECORD * _RECORD
            yield _series(bytes(buffer[:whole]))
            del buffer[:whole]
    whole = len(buffer) // _RECORD * _RECORD if skipped else 0
    if whole:
        yield _series(bytes(buffer[:whole]))


def _series(data: bytes) -> pl.Series:
    array = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(_RECORD), len(data) // _RECORD, [None, pa.py_buffer(data)]
    )
    return pl.Series(array)


def _number(records: pl.Series, offset: int, size: int) -> pl.Series:
    type_ = pl.UInt32 if size == 4 else pl.UInt16
    cut = records.bin.slice(offset, size).bin.reinterpret(dtype=type_, endianness="big")
    return cut.cast(pl.UInt64)
