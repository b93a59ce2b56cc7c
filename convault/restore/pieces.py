"""A piece of a backup on its way: download, decompress, deserialize. Loading is the target's.

Each step is a function of what the step before gave, so that Prefect tasks and plain code share
them. Nothing is handed on before its digest was found to be the backup's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import polars as pl

from convault.encryption.age import SUFFIX
from convault.encryption.age_chunks import Span
from convault.encryption.objects import Opener
from convault.errors import IntegrityError
from convault.formats import compression
from convault.formats.base import Rows
from convault.formats.csv import header
from convault.formats.parquet import Parquet
from convault.formats.registry import format_of_name
from convault.index import digest_of_frame
from convault.loading import damaged, read_range, read_stored
from convault.manifest import PartEntry, TableEntry
from convault.stores.base import Store

_FRAME_LIMIT = 1 << 30
"""plain bytes that frames of a part may have together, whatever they say of themselves"""


class Role(Enum):
    """What the rows of a piece are for."""

    SELECTED = "selected"
    """they were asked for"""
    ALONG = "along"
    """rows that were asked for reference them"""
    SURVEY = "survey"
    """only to find out which conversations are asked for"""


class Run(NamedTuple):
    """Frames of a part that follow one another."""

    first_frame: int
    offset: int
    """bytes, in the stored part"""
    length: int
    rows: int
    digests: tuple[bytes, ...]
    """of each frame (`index.digest_of_frame`)"""
    lengths: tuple[int, ...]
    """of each frame, in bytes"""


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Which rows of a piece to keep: those whose columns have one of these combinations."""

    columns: tuple[str, ...]
    values: pl.DataFrame
    """texts; its columns are "0", "1", ... in the order of `columns`"""
    as_row: bool = False
    """the columns, written as Postgres writes a row, are one text of `values`"""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part, or some frames of it."""

    table: TableEntry
    part: PartEntry
    role: Role = Role.SELECTED
    runs: tuple[Run, ...] | None = None
    """None: all of it"""
    footer: Run | None = None
    """of a Parquet file, where `runs` are given: it tells how to read them"""
    wanted: Wanted | None = None
    """None: every row"""
    expected: int | None = None
    """how many rows `wanted` keeps, where that is known"""

    def __str__(self) -> str:
        return self.part.path

    @property
    def rows(self) -> int:
        """Of what is read; how many of them are wanted may not be known."""
        return self.part.rows if self.runs is None else sum(run.rows for run in self.runs)


class Stored(NamedTuple):
    """Bytes of a piece as they lie in the store, proven, and decrypted."""

    pieces: tuple[bytes, ...]
    """one: the part. Several: each run, then the footer if there is one"""


def download(store: Store, piece: Piece, opener: Opener) -> Stored:
    """The stored bytes, decrypted if they are encrypted. IntegrityError names the object whose
    digest or size is not the manifest's (or the index's, for frames), StoreError is the store's."""
    part = piece.part
    if piece.runs is None:
        return Stored((opener.opened(part, read_stored(store, part)),))
    runs = (*piece.runs, *((piece.footer,) if piece.footer else ()))
    found = _fetched(
        store, part, [Span(run.offset, run.offset + run.length) for run in runs], opener
    )
    for run, data in zip(runs, found, strict=True):
        place = 0
        for digest, length in zip(run.digests, run.lengths, strict=True):
            if digest_of_frame(data[place : place + length]) != digest:
                raise damaged(part, "its bytes are not those that were stored")
            place += length
        if place != len(data):
            raise damaged(part, "its frames are not where the index says")
    return Stored(tuple(found))


def _fetched(store: Store, part: PartEntry, spans: list[Span], opener: Opener) -> list[bytes]:
    """Bytes of the part before encryption, not proven to be the backup's: anybody can encrypt."""

    def read(start: int, end: int) -> bytes:
        return read_range(store, part, start, end)

    if not part.encrypted:
        return [read(start, end) for start, end in spans]
    return opener.sealed_file(part.key, part.stored_bytes, read).spans(spans)


def decompress(piece: Piece, stored: Stored, opener: Opener) -> bytes:
    """The plain bytes of the part, or a document of the frames alone. IntegrityError."""
    part = piece.part
    if piece.runs is None:
        return b"".join(opener.plain(part, stored.pieces[0]))
    if format_of_name(part.key).name == "parquet":
        # With holes where other row groups are, which nobody reads.
        runs = (*piece.runs, *((piece.footer,) if piece.footer else ()))
        whole = bytearray(max(run.offset + run.length for run in runs))
        for run, data in zip(runs, stored.pieces, strict=True):
            whole[run.offset : run.offset + run.length] = data
        return bytes(whole)
    limit, name = min(part.plain_bytes, _FRAME_LIMIT), part.key.removesuffix(SUFFIX)
    plain = b"".join(compression.frames(stored.pieces, name=name, most=limit))
    return header(piece.table.columns) + plain if ".csv" in part.key else plain


def deserialize(piece: Piece, plain: bytes) -> Iterator[Rows]:
    """The rows that are wanted, some at a time. IntegrityError when there are not as many as there
    should be."""
    part, columns = piece.part, piece.table.columns
    read = kept = 0
    format_ = format_of_name(part.key)
    try:
        if piece.runs is not None and isinstance(format_, Parquet):
            groups = [n for run in piece.runs for n in range(run.first_frame, _end(run))]
            found = format_.read_groups(plain, columns, groups)
        else:
            found = format_.read(plain, columns)
        for rows in found:
            read += rows.count
            mine = rows if piece.wanted is None else _wanted(rows, piece.table, piece.wanted)
            kept += mine.count
            if mine.count:
                yield mine
    except IntegrityError as error:
        raise damaged(part, error.message) from None
    if read != piece.rows:
        raise damaged(part, f"it does not hold {piece.rows} rows")
    if piece.expected is not None and kept != piece.expected:
        raise damaged(
            part, f"the index promises {piece.expected} rows of what was asked for, it has {kept}"
        )


def _end(run: Run) -> int:
    return run.first_frame + len(run.digests)


def _wanted(rows: Rows, table: TableEntry, wanted: Wanted) -> Rows:
    frame = rows.frame.clone()
    frame.columns = [f"c{number}" for number in range(frame.width)]
    places = {column.name: number for number, column in enumerate(table.columns)}
    keys = [pl.col(f"c{places[name]}").cast(pl.String) for name in wanted.columns]
    if wanted.as_row:
        keys = [pl.struct(keys).map_elements(row_text, return_dtype=pl.String)]
    named = [key.alias(f"k{number}") for number, key in enumerate(keys)]
    values = wanted.values.clone()
    values.columns = [f"k{number}" for number in range(values.width)]
    kept = (
        frame.with_columns(named)
        .join(values, on=values.columns, how="semi", maintain_order="left")
        .drop(values.columns)
    )
    kept.columns = rows.frame.columns
    return Rows(kept, kept.height)


def row_text(row: Mapping[Any, str | None]) -> str:
    """As Postgres writes a row (record_out)."""

    def field(value: str | None) -> str:
        if value is None:
            return ""
        if value == "" or any(c in '(),"\\' or c.isspace() for c in value):
            return '"' + value.replace("\\", "\\\\").replace('"', '""') + '"'
        return value

    return f"({','.join(map(field, row.values()))})"
