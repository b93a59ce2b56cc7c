"""Rows as NDJSON: one JSON object per line, in UTF-8, each line ended by a newline.

Booleans are JSON booleans, smallint, integer and bigint JSON integers, NULL is null, and everything
else is a JSON string that holds Postgres' own text (`convault.formats.postgres_types`).
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from convault.errors import IntegrityError
from convault.models import Column

_POLARS_TYPES: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "integer": pl.Int64(),
    "text": pl.String(),
}


class Lines(NamedTuple):
    """Some rows, serialised."""

    data: bytes
    """ends with a newline; empty for no rows"""
    rows: int


def serialize(table: pa.Table, columns: Sequence[Column], max_bytes: int) -> list[Lines]:
    """The rows in their order, as documents of at most `max_bytes` (a row that is larger gets a
    document of its own). No rows make no document. `table` has `columns`, in this order."""
    names = [column.name for column in columns]
    if table.column_names != names:
        raise ValueError("the table does not have the columns it should have")
    if not names:
        return split(b"{}\n" * table.num_rows, max_bytes)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    buffer = io.BytesIO()  # with a buffer, unlike without, Polars lets other threads run
    frame.write_ndjson(buffer)
    return split(buffer.getvalue(), max_bytes)


def to_copy_text(
    data: bytes, columns: Sequence[Column], chosen: Sequence[Column] | None = None
) -> bytes:
    """The rows as `COPY FROM STDIN` takes them in its text format, tab-separated: of `columns` the
    `chosen` ones, or all but the generated ones, which cannot be loaded.

    IntegrityError when `data` is not what `serialize` makes of these columns.
    """
    if not data:
        return b""
    loaded = loadable(columns) if chosen is None else chosen
    if not loaded:
        return b"\n" * data.count(b"\n")
    frame = _read(data, columns)
    buffer = io.BytesIO()
    frame.select([_escaped(column) for column in loaded]).write_csv(
        buffer, include_header=False, separator="\t", null_value="\\N", quote_style="never"
    )
    return buffer.getvalue()


def split(data: bytes, max_bytes: int) -> list[Lines]:
    """NDJSON cut at line ends into documents of at most `max_bytes`, but for a longer line."""
    documents = []
    start = 0
    while start < len(data):
        end = len(data)
        if end - start > max_bytes:
            end = data.rfind(b"\n", start, start + max_bytes) + 1
            if not end:
                end = data.index(b"\n", start) + 1
        piece = data[start:end]
        documents.append(Lines(piece, piece.count(b"\n")))
        start = end
    return documents


def loadable(columns: Sequence[Column]) -> list[Column]:
    """The columns that COPY may write: those that are not generated."""
    return [column for column in columns if not column.generated]


def _read(data: bytes, columns: Sequence[Column]) -> pl.DataFrame:
    schema = {column.name: _POLARS_TYPES[column.encoding] for column in columns}
    try:
        # Polars reads NULL where a key is absent, so that the keys are looked at first.
        if list(json.loads(data[: data.index(b"\n")])) != list(schema):
            raise ValueError
        return pl.read_ndjson(io.BytesIO(data), schema=schema)
    except (pl.exceptions.PolarsError, ValueError, TypeError):
        # Not chained: Polars quotes the value that it did not understand.
        raise IntegrityError(
            "The rows are not NDJSON with the columns that the manifest names."
        ) from None


def _escaped(column: Column) -> pl.Expr:
    """The four characters that mean something in COPY's text format; the backslash goes first."""
    expression = pl.col(column.name)
    if column.encoding != "text":
        return expression
    for character, escape in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        expression = expression.str.replace_all(character, escape, literal=True)
    return expression
