"""Rows as Parquet: booleans and integers as such, everything else as text; zstandard within.

Row groups of about GROUP_BYTES, with statistics. A table without columns has one that is called `_`
and holds nothing but NULL, because Parquet counts no rows without columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from convault.errors import IntegrityError
from convault.formats.base import Document, Frame, Rows, check_columns, cut
from convault.models import Column

_STAND_IN = pa.schema([("_", pa.bool_())])
GROUP_BYTES = 128 * 1024
"""of a row group, as Arrow, about: who looks for one conversation reads one group and the footer,
which describes all of them, column by column, so that smaller ones cost more than they save"""
_FIXED_BYTES = 8
"""what any value takes beside its text, at most"""
_MAX_GROUP_BYTES = 4 * 1024 * 1024
"""of a row group of several rows, unpacked: some more than was ever written"""
_TOGETHER = 64
"""row groups that are read at a time, at most, whatever sizes they claim"""


class Parquet:
    """Implements `formats.base.Format`."""

    name = "parquet"
    media_type = "application/vnd.apache.parquet"

    def suffix(self, level: int) -> str:
        """See `formats.base.Format`. The file says itself how it is compressed."""
        return ".parquet"

    def serialize(
        self, table: pa.Table, columns: Sequence[Column], max_bytes: int, level: int
    ) -> list[Document]:
        """See `formats.base.Format`."""
        check_columns(table, columns)
        whole = _cast(table, columns)
        ends = _ends(whole)
        documents: list[Document] = []
        waiting = list(cut(ends, max_bytes))[::-1]
        while waiting:
            first, end = waiting.pop()
            document = _write(whole.slice(first, end - first), ends[first : end + 1], level)
            if len(document.data) > max_bytes and end - first > 1:
                middle = (first + end) // 2
                waiting += [(middle, end), (first, middle)]
            else:
                documents.append(document)
        return documents

    def store(self, document: Document, level: int) -> Document:
        """See `formats.base.Format`. A Parquet file is stored as it is."""
        return document

    def read(self, data: bytes, columns: Sequence[Column]) -> Iterator[Rows]:
        """See `formats.base.Format`."""
        return self.read_groups(data, columns, None)

    def read_groups(
        self, data: bytes, columns: Sequence[Column], groups: Sequence[int] | None
    ) -> Iterator[Rows]:
        """As `read`, of some row groups; `data` may have anything where the others lie."""
        expected = _schema(columns)
        try:
            if not pq.read_schema(pa.BufferReader(data)).equals(expected):
                raise _malformed()
            # Texts as places in a dictionary: a few bytes can stand for any number of long ones,
            # whose size is to be known before they are made.
            texts = [column.name for column in columns if column.encoding == "text"]
            with pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts) as file:
                wanted = range(file.num_row_groups) if groups is None else groups
                for together in _together(file.metadata, wanted):
                    table = file.read_row_groups(together)
                    _check_texts(table, len(together))
                    table = table.cast(expected)
                    yield Rows(_frame(table, columns), table.num_rows)
        except (pa.ArrowException, OSError):
            raise _malformed() from None


def _together(file: pq.FileMetaData, groups: Iterable[int]) -> Iterator[list[int]]:
    """The groups in their order, as many at a time as one may be large: a group alone costs more
    to be read than its rows do. IntegrityError as `_check_group`."""
    found: list[int] = []
    size = 0
    for number in groups:
        group = file.row_group(number)
        _check_group(group)
        full = len(found) == _TOGETHER or size + group.total_byte_size > _MAX_GROUP_BYTES
        if found and full:
            yield found
            found, size = [], 0
        found.append(number)
        size += group.total_byte_size
    if found:
        yield found


def _check_group(group: pq.RowGroupMetaData) -> None:
    """IntegrityError when the group would take more memory than any that is written."""
    rows, values = group.num_rows, group.num_rows * max(group.num_columns, 1)
    if rows > 1 and max(values * _FIXED_BYTES, group.total_byte_size) > _MAX_GROUP_BYTES:
        raise _malformed()


def _check_texts(table: pa.Table, groups: int) -> None:
    """The same, of the texts of so many groups, which are not made yet."""
    size = 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            chunks: list[Any] = column.chunks
            for chunk in chunks:
                lengths: Any = pc.binary_length(chunk.dictionary)
                size += pc.sum(lengths.take(chunk.indices)).as_py() or 0
    if table.num_rows > groups and size > groups * _MAX_GROUP_BYTES:
        raise _malformed()


def _schema(columns: Sequence[Column]) -> pa.Schema:
    if not columns:
        return _STAND_IN
    return pa.schema([(column.name, _type(column)) for column in columns])


def _type(column: Column) -> pa.DataType:
    if column.encoding == "boolean":
        return pa.bool_()
    if column.encoding == "text":
        return pa.string()
    return {"smallint": pa.int16(), "integer": pa.int32()}.get(column.type, pa.int64())


def _cast(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    if not columns:
        return pa.Table.from_arrays([pa.nulls(table.num_rows, pa.bool_())], schema=_STAND_IN)
    return table.cast(_schema(columns))


def _ends(table: pa.Table) -> memoryview:
    """Where each row would begin and end if rows lay one behind the other, in bytes of Arrow."""
    sizes = pa.array([_FIXED_BYTES * table.num_columns] * table.num_rows, pa.int64())
    for column in table.columns:
        if pa.types.is_string(column.type):
            sizes = pc.add(sizes, pc.fill_null(pc.binary_length(column), 0))
    if isinstance(sizes, pa.ChunkedArray):
        sizes = sizes.combine_chunks()
    ends = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(sizes)])
    buffer = ends.buffers()[1]
    assert buffer is not None
    return memoryview(buffer).cast("q")[: table.num_rows + 1]


def _write(table: pa.Table, ends: Sequence[int], level: int) -> Document:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd" if level else "none",
        compression_level=level or None,
        # Those of texts would be whole values, twice over, in the footer that every reader reads.
        write_statistics=[f.name for f in table.schema if not pa.types.is_string(f.type)],
        use_dictionary=_repeating(  # type: ignore[arg-type]  # the stubs know of no names
            table.slice(0, next(cut(ends, GROUP_BYTES))[1])
        ),
        store_schema=False,
    ) as writer:
        for first, end in cut(ends, GROUP_BYTES):
            writer.write_table(table.slice(first, end - first), row_group_size=end - first)
    data = sink.getvalue().to_pybytes()
    metadata = pq.read_metadata(pa.BufferReader(data))
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return Document(data, table.num_rows, tuple(_place(group) for group in groups))


def _repeating(rows: pa.Table) -> list[str]:
    """The columns whose values come twice each, or more, among the rows of the first group: a
    dictionary of any other is looked up, written, and as large as the values."""
    return [
        name
        for name, values in zip(rows.column_names, rows.columns, strict=True)
        if 2 * pc.count_distinct(values, mode="all").as_py() <= rows.num_rows
    ]


def _place(group: pq.RowGroupMetaData) -> Frame:
    chunks = [group.column(number) for number in range(group.num_columns)]
    # A column's dictionary, where it has one, lies before its values.
    starts = (chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks)
    length = sum(chunk.total_compressed_size or 0 for chunk in chunks)
    return Frame(min(start for start in starts if start is not None), length, group.num_rows)


def _frame(table: pa.Table, columns: Sequence[Column]) -> pl.DataFrame:
    if not columns:
        return pl.DataFrame()
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _malformed() -> IntegrityError:
    return IntegrityError("The rows are not Parquet with the columns that the manifest names.")
