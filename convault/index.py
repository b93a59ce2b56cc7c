"""The index from conversation to parts and frames, so that one conversation's rows can be fetched.

Rows of a part are sorted by the conversation they belong to, so that its rows lie in frames that
follow one another. Holds no value of a row but the key of its conversation (docs/format.md).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from convault.belonging import Belonging
from convault.errors import IntegrityError
from convault.formats.base import Document, Frame
from convault.models import Column, Part

_ENTRIES = pl.Schema(
    {
        "conversation": pl.String(),
        "first_frame": pl.Int32(),
        "frames": pl.Int32(),
        "offset": pl.Int64(),
        "length": pl.Int64(),
        "rows": pl.Int64(),
    }
)
"""of one part"""
_GROUP_ROWS = 1 << 16
"""of a row group of the index"""


class Grouped(NamedTuple):
    """A document, and where the rows of each conversation lie in it."""

    document: Document
    runs: pl.DataFrame | None
    """see `runs`; None when the rows' conversations cannot be told"""


def arranged(
    rows: pa.Table, columns: Sequence[Column], belonging: Belonging | None
) -> tuple[pa.Table, pa.ChunkedArray[Any] | None]:
    """The rows by conversation, those without one last, ties in the order they came in; and the
    conversation of each as text, None when it cannot be told.

    `rows` has `columns`, and behind them one more when `belonging` has an expression: it is used
    and left out. Integers are sorted as numbers, everything else by the bytes of its text.
    """
    if belonging is None:
        return rows, None
    if belonging.column is not None:
        keys = rows.column([column.name for column in columns].index(belonging.column))
    else:
        keys = rows.column(len(columns))
        rows = rows.select(range(len(columns)))
    order = pc.array_sort_indices(keys, null_placement="at_end")  # it is stable
    # `take` would lose the number of rows without columns, which are all the same.
    return rows.take(order) if columns else rows, keys.take(order).cast(pa.string())


def grouped(documents: Iterable[Document], keys: pa.ChunkedArray[Any] | None) -> list[Grouped]:
    """Each document with the conversations of its rows, as `arranged` gave them."""
    found = []
    first = 0
    for document in documents:
        own = None if keys is None else runs(keys.slice(first, document.rows))
        found.append(Grouped(document, own))
        first += document.rows
    return found


def runs(keys: pa.ChunkedArray[Any]) -> pl.DataFrame:
    """Where each conversation's rows begin and how many they are, of sorted `keys`: columns
    conversation, first, rows."""
    encoded = pl.Series(keys).rle()
    frame = pl.DataFrame(
        {"conversation": encoded.struct.field("value"), "rows": encoded.struct.field("len")}
    ).cast({"rows": pl.Int64})
    return frame.with_columns(first=pl.col("rows").cum_sum() - pl.col("rows"))


def entries(found: pl.DataFrame | None, frames: Sequence[Frame]) -> bytes:
    """The index of one part, packed: `found` as from `runs` of its rows, `frames` as stored.
    Empty when there are none to tell."""
    if found is None:
        return b""
    numbers = [number for number, frame in enumerate(frames) if frame.rows]
    held = [frames[number] for number in numbers]
    ends = pl.Series([frame.rows for frame in held], dtype=pl.Int64).cum_sum()
    known = found.filter(pl.col("conversation").is_not_null())
    begin = ends.search_sorted(known["first"], side="right")
    last = ends.search_sorted(known["first"] + known["rows"] - 1, side="right")
    starts = pl.Series([frame.offset for frame in held], dtype=pl.Int64)
    stops = pl.Series([frame.offset + frame.length for frame in held], dtype=pl.Int64)
    offset = starts.gather(begin)
    made = known.select("conversation", "rows").with_columns(
        first_frame=pl.Series(numbers, dtype=pl.Int64).gather(begin),
        frames=(last - begin + 1),
        offset=offset,
        length=stops.gather(last) - offset,
    )
    return _packed(made.select(_ENTRIES.names()).cast(_ENTRIES))


def build(parts: Iterable[Part]) -> bytes:
    """The index of a backup, as Parquet: the entries of all parts, by conversation, then by key."""
    packed = {part.key: part.conversations for part in parts if part.conversations}
    whole = pl.concat(
        [
            _ENTRIES.to_frame().with_columns(part=pl.lit("")),
            *(_unpacked(data).with_columns(part=pl.lit(key)) for key, data in packed.items()),
        ]
    )
    ordered = whole.sort("conversation", "part", "first_frame", "offset")
    return _as_parquet(ordered.select("conversation", "part", *_ENTRIES.names()[1:]))


def renamed(data: bytes, keys: Mapping[str, str]) -> bytes:
    """The index, from `build`, of a backup whose parts were stored anew: `keys` leads from the old
    key of each part to the new one. IntegrityError when it names others, or is no index."""
    try:
        whole = pl.read_parquet(io.BytesIO(data))
        moved = whole.with_columns(part=pl.col("part").replace_strict(keys, return_dtype=pl.String))
        ordered = moved.sort("conversation", "part", "first_frame", "offset")
    except pl.exceptions.PolarsError:
        raise IntegrityError(
            "The index of the backup does not fit its parts: it was damaged or forged."
        ) from None
    return _as_parquet(ordered)


def _packed(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer, compression="zstd")
    return buffer.getvalue()


def _unpacked(data: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(io.BytesIO(data))


def _as_parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer, compression="zstd", compression_level=3, row_group_size=_GROUP_ROWS, statistics=True
    )
    return buffer.getvalue()
