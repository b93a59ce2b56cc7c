"""The index of a backup, read by range: as little of it as answers the question.

Each block that is read is held against its digest in the manifest.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from convault.encryption import age
from convault.encryption.age_chunks import CHUNK_BYTES, Span
from convault.encryption.objects import Opener
from convault.encryption.sealed_file import SealedFile
from convault.errors import IntegrityError
from convault.index import BLOCK_BYTES
from convault.manifest import IndexEntry, Manifest
from convault.stores.base import Store


class FrameRow(NamedTuple):
    """What the index tells of a frame."""

    number: int
    offset: int
    length: int
    rows: int
    digest: bytes
    first_key: str | None
    last_key: str | None


class Index:
    """Reads the indexes of one backup as one. IntegrityError when they are not what was stored;
    StoreError."""

    def __init__(self, store: Store, manifest: Manifest, opener: Opener) -> None:
        self._pieces = [_Piece(store, entry, opener) for entry in manifest.all_indexes]
        self._parts = sorted({part.key for table in manifest.tables for part in table.parts})
        self.has_frames = all(piece.has_frames for piece in self._pieces)
        """whether it tells of frames; those of early backups do not"""

    def conversations(self, keys: Collection[str]) -> pl.DataFrame:
        """What it says of these conversations: columns conversation, part, first_frame, frames,
        rows."""
        found = pl.concat([piece.conversations(keys) for piece in self._pieces])
        if len(self._pieces) == 1:
            return found
        # An earlier backup's index tells of its parts, and two may tell the same of one.
        return found.filter(pl.col("part").is_in(self._parts)).unique(maintain_order=True)

    def frames(self, parts: Collection[str]) -> dict[str, list[FrameRow]]:
        """The frames of these parts, by the key of the part."""
        found: dict[str, list[FrameRow]] = {}
        for piece in self._pieces:
            for part, frames in piece.frames(set(parts) - found.keys()).items():
                found[part] = frames
        return found


class _Piece:
    """Reads one of them."""

    def __init__(self, store: Store, entry: IndexEntry, opener: Opener) -> None:
        self._entry = entry
        self._blocks = _Blocks(store, entry, opener)
        with self._readable():
            metadata = self._metadata()
            self._file = pq.ParquetFile(pa.PythonFile(self._blocks, mode="r"), metadata=metadata)
        names = self._file.schema_arrow.names
        self._place = {name: names.index(name) for name in names}
        self.has_frames = "digest" in self._place

    def _metadata(self) -> Any:
        """The footer and no more, where Arrow would read 64 KiB to find it."""
        total = self._blocks.size()
        end = self._blocks.proven(max(0, total - 8), total)
        start = total - 8 - int.from_bytes(end[:4], "little")
        if start < 4 or end[4:] != b"PAR1":
            raise IntegrityError(
                f"{self._entry.key} is damaged: it is not Parquet. Nothing was loaded.",
                key=self._entry.key,
            )
        return pq.read_metadata(pa.BufferReader(b"PAR1" + self._blocks.proven(start, total)))

    def conversations(self, keys: Collection[str]) -> pl.DataFrame:
        """See `Index`."""
        wanted = sorted(keys)
        columns = ["conversation", "part", "first_frame", "frames", "rows"]
        found = [
            self._read(group, columns).filter(pl.col("conversation").is_in(wanted))
            for group in self._groups("conversation", wanted)
        ]
        empty = pl.DataFrame(
            schema={"conversation": pl.String, "part": pl.String, "first_frame": pl.Int32,
                    "frames": pl.Int32, "rows": pl.Int64}
        )  # fmt: skip
        return pl.concat([empty, *found])

    def frames(self, parts: Collection[str]) -> dict[str, list[FrameRow]]:
        """See `Index`."""
        if not self.has_frames:
            return {}
        wanted = sorted(parts)
        found: dict[str, list[FrameRow]] = {}
        for group in self._groups("part", wanted, frames=True):
            rows = self._read(group, list(self._place)).filter(
                pl.col("conversation").is_null() & pl.col("part").is_in(wanted)
            )
            for row in rows.iter_rows(named=True):
                found.setdefault(row["part"], []).append(
                    FrameRow(
                        row["first_frame"], row["offset"], row["length"], row["rows"],
                        row["digest"], row["first_key"], row["last_key"],
                    )
                )  # fmt: skip
        return {key: sorted(frames) for key, frames in found.items()}

    def _groups(self, column: str, wanted: Sequence[str], *, frames: bool = False) -> Iterator[int]:
        """Row groups that may hold one of the (sorted) values that are wanted."""
        if not wanted:
            return
        metadata = self._file.metadata
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            conversations = group.column(self._place["conversation"]).statistics
            if frames and conversations is not None and conversations.null_count == 0:
                continue
            bounds: Any = group.column(self._place[column]).statistics
            if bounds is None or not bounds.has_min_max:
                if bounds is None or bounds.null_count < group.num_rows:
                    yield number
                continue
            place = bisect_left(wanted, bounds.min)
            if place < len(wanted) and (
                wanted[place] <= bounds.max or wanted[place].startswith(bounds.max)
            ):
                yield number

    def _read(self, number: int, columns: Sequence[str]) -> pl.DataFrame:
        group = self._file.metadata.row_group(number)
        chunks = [group.column(self._place[name]) for name in columns]
        starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
        ends = [
            start + chunk.total_compressed_size for start, chunk in zip(starts, chunks, strict=True)
        ]
        with self._readable():
            self._blocks.fetch(min(starts), max(ends))
            table = self._file.read_row_group(number, columns=list(columns))
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _readable(self) -> Any:
        return _Translated(self._entry)


class _Translated:
    def __init__(self, entry: IndexEntry) -> None:
        self._entry = entry

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None and issubclass(kind, pa.ArrowException):
            raise IntegrityError(
                f"{self._entry.key} is damaged: it is not the Parquet that was stored. Nothing was "
                "loaded.",
                key=self._entry.key,
            ) from None


class _Blocks(io.RawIOBase):
    """The index as a file of which blocks are fetched when they are read, and proven."""

    def __init__(self, store: Store, entry: IndexEntry, opener: Opener) -> None:
        self._store = store
        self._entry = entry
        self._blocks: dict[int, bytes] = {}
        self._position = 0
        self._size = entry.bytes
        self._opener = opener
        self._sealed: SealedFile | None = None
        if entry.digest_key is not None:
            self._sealed = opener.sealed_file(entry.key, entry.bytes, self._stored)
            self._size = self._sealed.plain_bytes
        elif not entry.blocks:
            self._whole(opener)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        self._position = base[whence] + offset
        return self._position

    def size(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._position + size, self._size)
        start, self._position = self._position, max(end, self._position)
        return self.proven(start, end) if start < end else b""

    def fetch(self, start: int, end: int) -> None:
        """Have the blocks of bytes [start, end), in as few requests as there are gaps."""
        # A chunk of an age file is opened at once, with all the blocks in it.
        step = CHUNK_BYTES if self._sealed else BLOCK_BYTES
        start, end = start // step * step, min(-(-end // step) * step, self._size)
        missing = [
            n for n in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)) if n not in self._blocks
        ]
        while missing:
            run = 1
            while run < len(missing) and missing[run] == missing[0] + run:
                run += 1
            self._get(missing[0], missing[0] + run)
            missing = missing[run:]

    def proven(self, start: int, end: int) -> bytes:
        """Bytes [start, end), proven."""
        self.fetch(start, end)
        first = start // BLOCK_BYTES
        data = b"".join(self._blocks[n] for n in range(first, -(-end // BLOCK_BYTES)))
        return data[start - first * BLOCK_BYTES : end - first * BLOCK_BYTES]

    def _get(self, first: int, end: int) -> None:
        start, stop = first * BLOCK_BYTES, min(end * BLOCK_BYTES, self._size)
        if self._sealed is None:
            data, known = self._stored(start, stop), self._entry.blocks
        else:
            (data,) = self._sealed.spans([Span(start, stop)])
            known = self._entry.plain_blocks
        for number in range(first, end):
            place = (number - first) * BLOCK_BYTES
            block = data[place : place + BLOCK_BYTES]
            if number >= len(known) or self._digest(block) != known[number]:
                raise self._damaged()
            self._blocks[number] = block

    def _digest(self, block: bytes) -> str:
        key = self._entry.digest_key
        return sha256(block).hexdigest() if key is None else self._opener.block(key, block)

    def _stored(self, start: int, end: int) -> bytes:
        return b"".join(self._store.stream(self._entry.key, start, end))

    def _whole(self, opener: Opener) -> None:
        data = b"".join(self._store.stream(self._entry.key))
        if len(data) != self._entry.bytes or sha256(data).hexdigest() != self._entry.sha256:
            raise self._damaged()
        if self._entry.path.endswith(age.SUFFIX):
            data = opener.decrypted(self._entry.key, data)
        self._size = len(data)
        for number in range(-(-len(data) // BLOCK_BYTES)):
            self._blocks[number] = data[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]

    def _damaged(self) -> IntegrityError:
        return IntegrityError(
            f"{self._entry.key} is damaged: its bytes are not those that were stored. Nothing was "
            "loaded.",
            key=self._entry.key,
        )
