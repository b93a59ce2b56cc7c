"""The steps that carry rows from the source into the store, without anybody who runs them.

A *batch* is what goes through a step together: pieces of one range or of some that follow one
another, about as many bytes as a part may have. Small ranges then cost no more steps than large
ones do, and each keeps parts of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

import pyarrow as pa

from convault import index
from convault.dataset.belonging import belonging
from convault.encryption import age
from convault.encryption.objects import Encryptor
from convault.formats.registry import format_of
from convault.index import Grouped
from convault.models import BackupOptions, Dataset, Part, Range
from convault.ranges.pieces import RangeReader, piece_bytes
from convault.repository import Repository, Stored
from convault.sources.base import Rows

BATCH_PIECES = 1.5
"""how many times the bytes of the largest piece a batch may have: with more there are fewer task
runs, and more memory is taken"""


class Piece(NamedTuple):
    """Rows of one range, in their order."""

    range: Range
    rows: pa.Table


class Written(NamedTuple):
    """A document of rows of one range."""

    range: Range
    grouped: Grouped


@dataclass(frozen=True, slots=True)
class Packed:
    """A part as it will be stored, and what its receipt tells of it."""

    range: Range
    data: bytes
    sha256: str
    plain_sha256: str
    plain_bytes: int
    rows: int
    suffix: str
    digest_key: str | None
    """see `models.Part`"""
    conversations: bytes
    """see `models.Part`"""


class Uploaded(NamedTuple):
    """The receipt of a part, and whether this upload wrote it, found it there, or repaired it."""

    part: Part
    stored: Stored


class BatchReader:
    """The rows of some ranges, handed over batch by batch. Used by one thread at a time.

    After an error it goes on where it was, as `RangeReader` does.
    """

    def __init__(self, source: Rows, ranges: Sequence[Range], part_bytes: int) -> None:
        """Where a range is cut into pieces depends on `part_bytes`, the plain bytes of a part at
        most, and on nothing else: or the same rows would be other parts beside other ranges."""
        self._waiting = list(reversed(ranges))
        self._source = source
        self._piece_bytes = piece_bytes(part_bytes)
        self._batch_bytes = BATCH_PIECES * self._piece_bytes
        self._reader: RangeReader | None = None
        self._held: list[Piece] = []
        self._batches = 0

    def __str__(self) -> str:
        """Where the next batch begins, and its number."""
        ranges = [piece.range for piece in self._held[:1]]
        ranges += [self._reader.range] if self._reader else self._waiting[-1:]
        return f"{ranges[0] if ranges else 'no rows'} #{self._batches}"

    @property
    def finished(self) -> bool:
        """Whether every row was handed over."""
        return not (self._waiting or self._reader or self._held)

    def next_batch(self) -> list[Piece]:
        """The next rows; none when none are left. A piece that would likely make the batch too
        large is left for the next one."""
        size = largest = 0
        for piece in self._held:
            size += piece.rows.nbytes
            largest = max(largest, piece.rows.nbytes)
        while (self._waiting or self._reader) and size + largest <= self._batch_bytes:
            if self._reader is None:
                self._reader = RangeReader(self._source, self._waiting[-1], self._piece_bytes)
                self._waiting.pop()
            rows = self._reader.next_piece()
            if rows is not None:
                self._held.append(Piece(self._reader.range, rows))
                size += rows.nbytes
                largest = max(largest, rows.nbytes)
            if self._reader.finished:
                self._reader = None
        batch, self._held = self._held, []
        self._batches += 1
        return batch

    def close(self) -> None:
        """Let the connection go."""
        if self._reader is not None:
            self._reader.close()


def written(
    batch: list[Piece], dataset: Dataset, options: BackupOptions, part_bytes: int
) -> Iterator[Written]:
    """The documents of a batch, of at most `part_bytes` each, rows sorted by conversation, or by
    key. The batch is emptied on the way, so that rows and documents are not held twice."""
    format_ = format_of(options.format)
    while batch:
        range_, rows = batch.pop(0)
        table = dataset.table(range_.table)
        key = index.key_column(table)
        ordered, keys = index.arranged(rows, table.columns, belonging(dataset, table.name), key)
        del rows
        documents = format_.serialize(ordered, table.columns, part_bytes, options.compression_level)
        own_keys = index.own_keys(ordered, table.columns, key)
        for grouped in index.grouped(documents, keys, own_keys):
            yield Written(range_, grouped)


def packed(
    documents: list[Written], options: BackupOptions, encryptor: Encryptor | None
) -> Iterator[Packed]:
    """The documents as they are stored, encrypted behind the compression when there is an
    `encryptor`; the list is emptied on the way."""
    format_ = format_of(options.format)
    while documents:
        range_, grouped = documents.pop(0)
        plain = grouped.document
        stored = format_.store(plain, options.compression_level)
        data, suffix = stored.data, format_.suffix(options.compression_level)
        if encryptor is None:
            digest_key = None
            plain_digest = sha256(plain.data).hexdigest()
        else:
            digest_key = encryptor.digest_key.id
            plain_digest = encryptor.digest(plain.data)
            data, suffix = encryptor.encrypt(data), suffix + age.SUFFIX
        yield Packed(
            range=range_,
            data=data,
            sha256=plain_digest if data is plain.data else sha256(data).hexdigest(),
            plain_sha256=plain_digest,
            plain_bytes=len(plain.data),
            rows=plain.rows,
            suffix=suffix,
            digest_key=digest_key,
            conversations=index.entries(grouped, stored),
        )


class Outgoing:
    """Parts of one worker on their way into the store: numbered within their ranges, each stored
    once, however often a store that fails has the rest tried again."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._ordinals: Counter[Range] = Counter()
        self._waiting: list[Packed] = []
        self._done: list[Uploaded] = []

    def add(self, parts: Sequence[Packed]) -> None:
        """Behind those that wait."""
        self._waiting += parts

    def store(self) -> list[Uploaded]:
        """Store what waits; the receipts of all of it, those of earlier tries included. The same
        bytes that are there already are read, and not written again. StoreError."""
        while self._waiting:
            self._done.append(self._put(self._waiting[0]))
            content = self._waiting.pop(0)
            self._ordinals[content.range] += 1
        done, self._done = self._done, []
        return done

    def _put(self, content: Packed) -> Uploaded:
        key = self._repository.part_key(content.range.table, content.sha256, content.suffix)
        stored = self._repository.put_part(key, content.sha256, content.data)
        part = Part(
            range=content.range,
            ordinal=self._ordinals[content.range],
            key=key,
            sha256=content.sha256,
            stored_bytes=len(content.data),
            plain_sha256=content.plain_sha256,
            plain_bytes=content.plain_bytes,
            rows=content.rows,
            conversations=content.conversations,
            digest_key=content.digest_key,
        )
        return Uploaded(part, stored)
