"""Frames of a part, chosen and put together into runs that are fetched at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

from convault.encryption.age_chunks import CHUNK_BYTES
from convault.formats.registry import format_of_name
from convault.manifest import PartEntry, TableEntry
from convault.restore.lookup import FrameRow
from convault.restore.pieces import Run

_MOST = 0.7
"""share of a part's bytes above which all of it is read, and proven by its own digest"""


def runs_of(
    part: PartEntry, numbers: Collection[int] | None, frames: Sequence[FrameRow] | None
) -> tuple[tuple[Run, ...] | None, Run | None]:
    """The frames with these numbers as runs, and the footer that Parquet needs; (None, None) where
    all of the part is to be read: nothing is known of its frames, or most of them are
    wanted."""
    if numbers is None or not frames:
        return None, None
    by_number = {frame.number: frame for frame in frames}
    if not set(numbers) <= by_number.keys():
        return None, None
    chosen = [by_number[number] for number in sorted(numbers)]
    if _read_for(part, chosen) > _MOST * part.stored_bytes:
        return None, None
    runs: list[list[FrameRow]] = []
    for frame in chosen:
        last = runs[-1][-1] if runs else None
        if last is not None and frame.offset == last.offset + last.length:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    footer = None
    if format_of_name(part.key).name == "parquet":
        footer = _run([max(frames, key=lambda frame: frame.offset)])
    return tuple(_run(run) for run in runs), footer


def _read_for(part: PartEntry, frames: Sequence[FrameRow]) -> int:
    """Bytes that are read to have these frames: of an age file, the chunks that hold them."""
    if not part.encrypted:
        return sum(frame.length for frame in frames)
    chunks = {
        number
        for frame in frames
        for number in range(
            frame.offset // CHUNK_BYTES, -(-(frame.offset + frame.length) // CHUNK_BYTES)
        )
    }
    return len(chunks) * CHUNK_BYTES


def piece_of(
    table: TableEntry, column: str, values: Collection[str], frames: Sequence[FrameRow]
) -> set[int] | None:
    """Numbers of the frames that may hold a row with one of the `values` in `column`; None where
    the frames do not tell."""
    kept = [frame for frame in frames if frame.rows]
    own = next((c for c in table.columns if c.name == column), None)
    if own is None or table.primary_key[:1] != (column,):
        return None
    if any(frame.first_key is None or frame.last_key is None for frame in kept):
        return None
    if own.encoding == "integer":
        numbers = sorted(int(value) for value in values)
        return {
            f.number for f in kept if _within(numbers, int(f.first_key or 0), int(f.last_key or 0))
        }
    texts = sorted(value.encode() for value in values)
    return {
        f.number
        for f in kept
        if _within(texts, (f.first_key or "").encode(), (f.last_key or "").encode())
    }


def _within(values: Sequence[int] | Sequence[bytes], first: int | bytes, last: int | bytes) -> bool:
    place = bisect_left(values, first)
    return place < len(values) and values[place] <= last  # type: ignore[operator]


def _run(frames: Sequence[FrameRow]) -> Run:
    return Run(
        first_frame=frames[0].number,
        offset=frames[0].offset,
        length=sum(frame.length for frame in frames),
        rows=sum(frame.rows for frame in frames),
        digests=tuple(frame.digest for frame in frames),
        lengths=tuple(frame.length for frame in frames),
    )
