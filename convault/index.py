"""The index from conversation to parts and frames, so that one conversation's rows can be fetched.

Rows of a part are sorted by the conversation they belong to, so that its rows lie in frames that
follow one another. Beside that it tells of every frame its digest, so that one that is fetched
alone is proven too, and between which keys its rows lie, so that a row that is referenced is found.
Holds no value of a row but such keys, and those of other tables only where they are numbers
(docs/format.md).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import accumulate
from math import isqrt
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from convault.belonging import Belonging
from convault.errors import IntegrityError
from convault.formats.base import Document, Frame
from convault.models import Column, Part, Table

_ENTRIES = pl.Schema(
    {
        "conversation": pl.String(),
        "first_frame": pl.Int32(),
        "frames": pl.Int32(),
        "offset": pl.Int64(),
        "length": pl.Int64(),
        "rows": pl.Int64(),
        "digest": pl.Binary(),
        "first_key": pl.String(),
        "last_key": pl.String(),
    }
)
"""of one part. A row without a conversation tells of a frame"""
_ROWS_PER_DESCRIPTION = 180
"""Rows of the index that take as many bytes as the footer's description of a row group, about: who
looks for one conversation reads one group and all descriptions, so that as many rows in a group as
this makes of the whole cost least"""
_DIGEST_BYTES = 16
"""of a frame's SHA-256: as hard to hit as to guess a key of 128 bits"""
BLOCK_BYTES = 1 << 14
"""of the index that has a digest of its own in the manifest, so that a piece of it is proven"""
_NUMBERS = frozenset({"smallint", "integer", "bigint", "uuid"})
"""Types of keys whose equal values have equal texts, and which say nothing of anybody: a text may
be an address"""


def key_column(table: Table) -> str | None:
    """The first column of the primary key, between whose values the rows of a frame lie; None where
    it is no number and no uuid, or there is no key."""
    for column in table.columns:
        if table.primary_key[:1] == (column.name,) and column.type in _NUMBERS:
            return column.name
    return None


def digest_of_frame(data: bytes | memoryview) -> bytes:
    """Of the bytes of a frame as they are stored: the first half of their SHA-256."""
    return sha256(data).digest()[:_DIGEST_BYTES]


def blocks(data: bytes) -> tuple[str, ...]:
    """SHA-256 of each block of the index, hex."""
    return tuple(sha256(block).hexdigest() for block in blocks_of(data))


def blocks_of(data: bytes) -> list[bytes]:
    """The index in blocks that are proven one by one."""
    return [data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES)]


class Grouped(NamedTuple):
    """A document, and where the rows of each conversation lie in it."""

    document: Document
    runs: pl.DataFrame | None
    """see `runs`; None when the rows' conversations cannot be told"""
    bounds: tuple[tuple[str | None, str | None], ...] = ()
    """the least and the greatest key in each frame; () without keys"""


def arranged(
    rows: pa.Table, columns: Sequence[Column], belonging: Belonging | None, key: str | None = None
) -> tuple[pa.Table, pa.ChunkedArray[Any] | None]:
    """The rows by conversation, those without one last, ties in the order they came in; and the
    conversation of each as text, None when it cannot be told. Then the rows are sorted by `key`, so
    that each frame holds a stretch of keys.

    `rows` has `columns`, and behind them one more when `belonging` has an expression: it is used
    and left out. Integers are sorted as numbers, everything else by the bytes of its text.
    """
    if belonging is None:
        if key is None:
            return rows, None
        place = [column.name for column in columns].index(key)
        return rows.take(pc.array_sort_indices(rows.column(place))), None
    if belonging.column is not None:
        keys = rows.column([column.name for column in columns].index(belonging.column))
    else:
        keys = rows.column(len(columns))
        rows = rows.select(range(len(columns)))
    order = pc.array_sort_indices(keys, null_placement="at_end")  # it is stable
    # `take` would lose the number of rows without columns, which are all the same.
    return rows.take(order) if columns else rows, keys.take(order).cast(pa.string())


def grouped(
    documents: Iterable[Document],
    keys: pa.ChunkedArray[Any] | None,
    own_keys: pa.ChunkedArray[Any] | None = None,
) -> list[Grouped]:
    """Each document with the conversations of its rows, as `arranged` gave them, and the bounds of
    the rows' `own_keys` in each of its frames."""
    found = []
    first = 0
    for document in documents:
        own = None if keys is None else runs(keys.slice(first, document.rows))
        bounds = () if own_keys is None else _bounds(document, own_keys.slice(first, document.rows))
        found.append(Grouped(document, own, bounds))
        first += document.rows
    return found


def own_keys(rows: pa.Table, columns: Sequence[Column], key: str | None) -> Any:
    """The column of the arranged `rows` that `key` names, or None."""
    return None if key is None else rows.column([c.name for c in columns].index(key))


def _bounds(
    document: Document, keys: pa.ChunkedArray[Any]
) -> tuple[tuple[str | None, str | None], ...]:
    ends = accumulate((frame.rows for frame in document.frames), initial=0)
    found = []
    for first, frame in zip(ends, document.frames, strict=False):
        bounds = pc.min_max(keys.slice(first, frame.rows))
        least, greatest = bounds["min"].as_py(), bounds["max"].as_py()
        found.append((None, None) if least is None else (str(least), str(greatest)))
    return tuple(found)


def runs(keys: pa.ChunkedArray[Any]) -> pl.DataFrame:
    """Where each conversation's rows begin and how many they are, of sorted `keys`: columns
    conversation, first, rows."""
    encoded = pl.Series(keys).rle()
    frame = pl.DataFrame(
        {"conversation": encoded.struct.field("value"), "rows": encoded.struct.field("len")}
    ).cast({"rows": pl.Int64})
    return frame.with_columns(first=pl.col("rows").cum_sum() - pl.col("rows"))


def entries(grouped: Grouped, stored: Document) -> bytes:
    """The index of one part, packed: its conversations and its frames as they are `stored`. The
    rest of a file that frames do not fill (the footer of Parquet) counts as a frame."""
    parts = [_frames(grouped, stored)]
    if grouped.runs is not None:
        parts.append(_conversations(grouped.runs, stored.frames))
    return _packed(pl.concat(parts))


def _frames(grouped: Grouped, stored: Document) -> pl.DataFrame:
    frames = list(stored.frames)
    bounds = list(grouped.bounds) or [(None, None)] * len(frames)
    end = max((frame.offset + frame.length for frame in frames), default=0)
    if end < len(stored.data):
        frames.append(Frame(end, len(stored.data) - end, 0))
        bounds.append((None, None))
    view = memoryview(stored.data)
    return pl.DataFrame(
        {
            "conversation": [None] * len(frames),
            "first_frame": list(range(len(frames))),
            "frames": [1] * len(frames),
            "offset": [frame.offset for frame in frames],
            "length": [frame.length for frame in frames],
            "rows": [frame.rows for frame in frames],
            "digest": [digest_of_frame(view[f.offset : f.offset + f.length]) for f in frames],
            "first_key": [first for first, _ in bounds],
            "last_key": [last for _, last in bounds],
        },
        schema=_ENTRIES,
    )


def _conversations(found: pl.DataFrame, frames: Sequence[Frame]) -> pl.DataFrame:
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
        digest=pl.lit(None, pl.Binary()),
        first_key=pl.lit(None, pl.String()),
        last_key=pl.lit(None, pl.String()),
    )
    return made.select(_ENTRIES.names()).cast(_ENTRIES)


def build(parts: Iterable[Part]) -> bytes:
    """The index of a backup, as Parquet: the entries of all parts, by conversation, then by key;
    the frames, which have no conversation, come last."""
    packed = {part.key: part.conversations for part in parts if part.conversations}
    whole = pl.concat(
        [
            _ENTRIES.to_frame().with_columns(part=pl.lit("")),
            *(_unpacked(data).with_columns(part=pl.lit(key)) for key, data in packed.items()),
        ]
    )
    ordered = whole.sort("conversation", "part", "first_frame", "offset", nulls_last=True)
    return _as_parquet(ordered.select("conversation", "part", *_ENTRIES.names()[1:]))


def renamed(pieces: Sequence[bytes], keys: Mapping[str, str]) -> bytes:
    """One index, as from `build`, of a backup whose parts were stored anew, out of the `pieces` of
    its own: `keys` leads from the old key of each part to the new one. What a later piece says of
    other parts was an earlier backup's. IntegrityError when they fit no part, or are no index."""
    try:
        first, *others = [pl.read_parquet(io.BytesIO(data)) for data in pieces]
        known = [piece.filter(pl.col("part").is_in(list(keys))) for piece in others]
        whole = pl.concat([first, *known]).unique(maintain_order=True)
        moved = whole.with_columns(part=pl.col("part").replace_strict(keys, return_dtype=pl.String))
        ordered = moved.sort("conversation", "part", "first_frame", "offset", nulls_last=True)
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
    rows = max(1024, isqrt(_ROWS_PER_DESCRIPTION * frame.height))
    frame.write_parquet(
        buffer, compression="zstd", compression_level=3, row_group_size=rows, statistics=True
    )
    return buffer.getvalue()
