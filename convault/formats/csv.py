"""Rows as CSV by RFC 4180, with a header in every document.

NULL is an empty field, an empty text is `""`. Every text and every name in the header is in quotes,
whatever it holds: so no reader takes `\\.` for the end, trims blanks, or finds a byte order mark.
Lines end with CRLF. A table without columns has an empty line for the header and one for each row.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa

from convault.errors import IntegrityError
from convault.formats import compression
from convault.formats.base import (
    FRAME_BYTES,
    POLARS_TYPES,
    Document,
    Frame,
    Rows,
    check_columns,
    cut,
)
from convault.formats.copy_text import numbered
from convault.models import Column

_END = "\r\n"
_READ_ROWS = 20_000
"""rows that are handed over at a time"""


class Csv:
    """Implements `formats.base.Format`."""

    name = "csv"
    media_type = "text/csv"

    def suffix(self, level: int) -> str:
        """See `formats.base.Format`."""
        return compression.suffix(".csv", level)

    def serialize(
        self, table: pa.Table, columns: Sequence[Column], max_bytes: int, level: int
    ) -> list[Document]:
        """See `formats.base.Format`."""
        check_columns(table, columns)
        if not table.num_rows:
            return []
        if not columns:
            lines = pa.array([_END] * table.num_rows, pa.large_string())
        else:
            lines = _lines(table, columns)
        _, ends_buffer, data_buffer = lines.buffers()
        assert ends_buffer is not None
        assert data_buffer is not None
        ends = memoryview(ends_buffer).cast("q")[: table.num_rows + 1]
        data = memoryview(data_buffer)
        head = header(columns)
        return [
            _document(head, data, ends[first : end + 1])
            for first, end in cut(ends, max_bytes - len(head))
        ]

    def store(self, document: Document, level: int) -> Document:
        """See `formats.base.Format`."""
        return compression.compressed(document, level)

    def read(self, data: bytes, columns: Sequence[Column]) -> Iterator[Rows]:
        """See `formats.base.Format`."""
        head = header(columns)
        if not data.startswith(head):
            raise _malformed()
        if not columns:
            count = (len(data) - len(head)) // len(_END)
            if data != head * (count + 1):
                raise _malformed()
            yield Rows(pl.DataFrame(), count)
            return
        for frame in _read(data, len(head), columns).iter_slices(_READ_ROWS):
            yield Rows(frame, frame.height)


def header(columns: Sequence[Column]) -> bytes:
    """The first line: every name in quotes. Also what the first frame of a document holds."""
    names = ('"' + column.name.replace('"', '""') + '"' for column in columns)
    return (",".join(names) + _END).encode()


def _lines(table: pa.Table, columns: Sequence[Column]) -> pa.LargeStringArray:
    """A text for each row, with its end; their bytes lie one behind the other."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    fields = [_field(number, column) for number, column in enumerate(columns)]
    fields[-1] = pl.concat_str([fields[-1], pl.lit(_END)])
    lines = numbered(frame).select(pl.concat_str(fields, separator=",").alias("line"))
    made = lines.to_series().to_arrow(compat_level=pl.CompatLevel.oldest())
    assert isinstance(made, pa.LargeStringArray)
    assert made.offset == 0
    return made


def _field(number: int, column: Column) -> pl.Expr:
    value = pl.col(str(number))
    if column.encoding == "text":
        text = value.str.replace_all('"', '""', literal=True)
        field = pl.concat_str([pl.lit('"'), text, pl.lit('"')])
    else:
        field = value.cast(pl.String)
    return field.fill_null("")


def _document(head: bytes, data: memoryview, ends: Sequence[int]) -> Document:
    # The header has a frame of its own: with it, any other frames make a document.
    frames = [Frame(0, len(head), 0)]
    shift = len(head) - ends[0]
    for first, end in cut(ends, FRAME_BYTES):
        frames.append(Frame(ends[first] + shift, ends[end] - ends[first], end - first))
    return Document(head + data[ends[0] : ends[-1]], len(ends) - 1, tuple(frames))


def _read(data: bytes, start: int, columns: Sequence[Column]) -> pl.DataFrame:
    try:
        if not data.endswith(_END.encode()):
            raise ValueError
        return pl.read_csv(
            io.BytesIO(memoryview(data)[start:]),
            has_header=False,  # Polars would not undo the quotes within a name
            schema={str(n): POLARS_TYPES[column.encoding] for n, column in enumerate(columns)},
            raise_if_empty=False,
            missing_columns="raise",
            extra_columns="raise",
        )
    except (pl.exceptions.PolarsError, ValueError):
        raise _malformed() from None  # Polars quotes the value that it did not understand


def _malformed() -> IntegrityError:
    return IntegrityError("The rows are not CSV with the columns that the manifest names.")
