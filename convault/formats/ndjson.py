"""Rows as NDJSON: one JSON object per line, in UTF-8, each line ended by a newline.

Booleans are JSON booleans, smallint, integer and bigint JSON integers, NULL is null, and everything
else is a JSON string that holds Postgres' own text (`convault.formats.postgres_types`).
"""

from __future__ import annotations

import io
import json
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
)
from convault.formats.writing import written
from convault.models import Column

_READ_BYTES = 16 * 1024 * 1024
"""plain bytes that are read at a time, unless one row is larger"""


class Ndjson:
    """Implements `formats.base.Format`."""

    name = "ndjson"
    media_type = "application/x-ndjson"

    def suffix(self, level: int) -> str:
        """See `formats.base.Format`."""
        return compression.suffix(".ndjson", level)

    def serialize(
        self, table: pa.Table, columns: Sequence[Column], max_bytes: int, level: int
    ) -> list[Document]:
        """See `formats.base.Format`."""
        check_columns(table, columns)
        if columns:
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)
            data = written(frame.write_ndjson)
        else:
            data = b"{}\n" * table.num_rows
        return [document(piece) for piece in _cut(data, max_bytes)]

    def store(self, document: Document, level: int) -> Document:
        """See `formats.base.Format`."""
        return compression.compressed(document, level)

    def read(self, data: bytes, columns: Sequence[Column]) -> Iterator[Rows]:
        """See `formats.base.Format`."""
        for piece in _cut(data, _READ_BYTES):
            if columns:
                frame = _read(piece, columns)
                yield Rows(frame, frame.height)
            else:
                if piece != b"{}\n" * (len(piece) // 3):
                    raise _not_of(columns)
                yield Rows(pl.DataFrame(), len(piece) // 3)


def document(data: bytes) -> Document:
    """NDJSON with its frames, which end with a line."""
    frames: list[Frame] = []
    for offset, end in _places(data, FRAME_BYTES):
        frames.append(Frame(offset, end - offset, data.count(b"\n", offset, end)))
    return Document(data, sum(frame.rows for frame in frames), tuple(frames))


def _cut(data: bytes, max_bytes: int) -> Iterator[bytes]:
    """Pieces of at most `max_bytes` that end with a line, or of one longer line."""
    for start, end in _places(data, max_bytes):
        yield data if end - start == len(data) else data[start:end]


def _places(data: bytes, max_bytes: int) -> Iterator[tuple[int, int]]:
    """Where each of these pieces begins and ends."""
    start = 0
    while start < len(data):
        end = len(data)
        if end - start > max_bytes:
            end = data.rfind(b"\n", start, start + max_bytes) + 1
            end = end or data.find(b"\n", start) + 1 or len(data)
        yield start, end
        start = end


def _read(data: bytes, columns: Sequence[Column]) -> pl.DataFrame:
    schema = {column.name: POLARS_TYPES[column.encoding] for column in columns}
    try:
        # Polars reads NULL where a key is absent, so that the keys are looked at first.
        first = json.loads(data[: data.index(b"\n")])
        if list(first) != list(schema) or not data.endswith(b"\n"):
            raise ValueError
        return pl.read_ndjson(io.BytesIO(data), schema=schema)
    except (pl.exceptions.PolarsError, ValueError, TypeError):
        raise _not_of(columns) from None  # Polars quotes the value that it did not understand


def _not_of(columns: Sequence[Column]) -> IntegrityError:
    return IntegrityError("The rows are not NDJSON with the columns that the manifest names.")
