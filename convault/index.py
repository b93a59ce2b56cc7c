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
import pyarrow.parquet as pq

from convault.dataset.belonging import Belonging
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
ROWS_AT_ONCE = 250_000
"""entries that are sorted at a time, in some 300 bytes each"""
_SAMPLED = 97
"""One of so many conversations of a part tells where stretches of them begin"""
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
    rows = rows.combine_chunks()  # sorting and taking are some times faster without their borders
    if belonging.column is not None:
        keys = rows.column([column.name for column in columns].index(belonging.column))
    else:
        keys = rows.column(len(columns))
        rows = rows.select(range(len(columns)))
    order = pc.array_sort_indices(_ranks(keys), null_placement="at_end")  # it is stable
    # `take` would lose the number of rows without columns, which are all the same.
    return rows.take(order) if columns else rows, keys.take(order).cast(pa.string())


def _ranks(keys: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Numbers in the order of the keys. Most conversations have several rows, so that few texts
    are compared."""
    if not keys.num_chunks or not pa.types.is_string(keys.type):
        return keys
    encoded: Any = keys.dictionary_encode().unify_dictionaries()
    ranks: Any = pc.rank(encoded.chunk(0).dictionary, tiebreaker="dense")
    return pa.chunked_array([ranks.take(chunk.indices) for chunk in encoded.chunks])


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


def build(parts: Iterable[Part], *, at_once: int = ROWS_AT_ONCE) -> bytes:
    """The index of a backup, as Parquet: the entries of all parts, by conversation, then by key;
    the frames, which have no conversation, come last. Of many entries `at_once` are in memory."""
    packed = {part.key: part.conversations for part in parts if part.conversations}
    held: dict[str, pl.DataFrame] = {}
    rows = 0
    for key, data in packed.items():
        held[key] = _unpacked(data)
        rows += held[key].height
        if rows > at_once:
            break
    else:
        return _as_parquet(_sorted(_joined(held)))
    held.clear()
    spans = {key: _span(_unpacked(data)) for key, data in packed.items()}
    rows = sum(span.rows for span in spans.values())
    return _in_stretches(packed, spans, _group_rows(rows), at_once)


def _in_stretches(
    packed: Mapping[str, bytes], spans: Mapping[str, _Span], group_rows: int, at_once: int
) -> bytes:
    """The same index, sorted stretch by stretch of the conversations; each is looked for in the
    parts that may hold some of it."""
    keys = sorted(packed)
    empty = _sorted(_joined({}))
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer, empty.to_arrow().schema, compression="zstd", compression_level=3
    ) as writer:
        for begin, end in _stretches(spans.values(), at_once):
            # As few bytes of a row as can be: what is the same for all of them comes afterwards.
            found = pl.concat(
                [
                    _between(packed[key], begin, end).with_columns(number=pl.lit(n, pl.UInt32()))
                    for n, key in enumerate(keys)
                    if spans[key].meets(begin, end)
                ]
            ).sort("conversation", "number", "first_frame", "offset")
            for rows in found.iter_slices(group_rows):
                named = rows.with_columns(part=pl.Series(keys).gather(rows["number"]))
                whole = pl.concat([empty, named.drop("number")], how="diagonal")
                writer.write_table(whole.to_arrow(), row_group_size=group_rows)
        for some in _batches(spans, at_once):
            frames = _joined({key: _unpacked(packed[key]) for key in some})
            frames = _sorted(frames.filter(pl.col("conversation").is_null()))
            writer.write_table(frames.to_arrow(), row_group_size=group_rows)
    return buffer.getvalue()


def _between(data: bytes, begin: str | None, end: str | None) -> pl.DataFrame:
    """Of the entries of one part those of conversations from `begin` on and before `end`, without
    the columns that only frames have."""
    columns = ["conversation", "first_frame", "frames", "offset", "length", "rows"]
    found = pl.read_ipc_stream(io.BytesIO(data), columns=columns)
    wanted = pl.col("conversation").is_not_null()
    if begin is not None:
        wanted &= pl.col("conversation") >= begin
    if end is not None:
        wanted &= pl.col("conversation") < end
    # Through Arrow's older texts, which are copied: those of a filter keep all others alive.
    compact = pl.from_arrow(found.filter(wanted).to_arrow(compat_level=pl.CompatLevel.oldest()))
    assert isinstance(compact, pl.DataFrame)
    return compact


class _Span(NamedTuple):
    """What the entries of one part are between."""

    rows: int
    frames: int
    """of the rows, those of frames"""
    least: str | None
    greatest: str | None
    sample: pl.Series
    """some of its conversations"""

    def meets(self, begin: str | None, end: str | None) -> bool:
        """Whether a conversation from `begin` on and before `end` may be among them."""
        if self.least is None or self.greatest is None:
            return False
        return (begin is None or self.greatest >= begin) and (end is None or self.least < end)


def _span(entries_: pl.DataFrame) -> _Span:
    known = entries_["conversation"].drop_nulls()
    least, greatest = known.min(), known.max()
    return _Span(
        entries_.height, entries_.height - len(known),
        None if least is None else str(least), None if greatest is None else str(greatest),
        pl.Series(known.gather_every(_SAMPLED).to_list(), dtype=pl.String()),  # or all stay alive
    )  # fmt: skip


def _stretches(spans: Iterable[_Span], at_once: int) -> list[tuple[str | None, str | None]]:
    """Stretches of conversations, in order, each of about so many entries at most."""
    listed = list(spans)
    known = sum(span.rows - span.frames for span in listed)
    sample = pl.concat([pl.Series([], dtype=pl.String()), *(s.sample for s in listed)]).sort()
    number = min(-(-known // at_once), max(1, len(sample)))
    places = [len(sample) * n // number for n in range(1, number)]
    borders = sorted({str(sample[place]) for place in places})
    return list(zip([None, *borders], [*borders, None], strict=True)) if known else []


def _batches(spans: Mapping[str, _Span], at_once: int) -> list[list[str]]:
    """Keys of parts in order, so that each list has about so many entries at most."""
    found: list[list[str]] = [[]]
    rows = 0
    for key in sorted(spans):
        if found[-1] and rows + spans[key].rows > at_once:
            found.append([])
            rows = 0
        found[-1].append(key)
        rows += spans[key].rows
    return found


def _joined(entries_: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Of all parts, each with the part's key."""
    return pl.concat(
        [
            _ENTRIES.to_frame().with_columns(part=pl.lit("")),
            *(frame.with_columns(part=pl.lit(key)) for key, frame in entries_.items()),
        ]
    )


def _sorted(whole: pl.DataFrame) -> pl.DataFrame:
    ordered = whole.sort("conversation", "part", "first_frame", "offset", nulls_last=True)
    return ordered.select("conversation", "part", *_ENTRIES.names()[1:])


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
    frame.write_parquet(
        buffer, compression="zstd", compression_level=3, row_group_size=_group_rows(frame.height),
        statistics=True,
    )  # fmt: skip
    return buffer.getvalue()


def _group_rows(rows: int) -> int:
    return max(1024, isqrt(_ROWS_PER_DESCRIPTION * rows))
