"""The bytes of a part made anew from the source, when it still holds the same rows.

Whether it does is told by the result alone: a document that has the digest of the part's plain
bytes is the part, however it came about. So nothing here has to be believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from convault import index
from convault.dataset.belonging import belonging
from convault.formats.base import Document
from convault.formats.registry import format_of
from convault.models import BackupOptions, Range
from convault.ranges.pieces import RangeReader, piece_bytes
from convault.sources.base import Snapshot
from convault.verification.holdings import Place


def rebuilt(
    snapshot: Snapshot, place: Place, options: BackupOptions, part_bytes: int
) -> bytes | str:
    """The part as it was stored; or why it cannot be made. `part_bytes` as the backup had it.

    SourceError as `Snapshot.read` raises it. Memory is bounded by a piece of a range.
    """
    if place.part.encrypted:
        return (
            "it is encrypted, and encryption makes other bytes every time: put it back from a copy "
            "of the repository, or back up again with --full"
        )
    name = place.table.name
    table = next((table for table in snapshot.dataset.tables if table.name == name), None)
    if table is None:
        return f"the source has no table {name} in its dataset any more"
    if table.columns != place.table.columns:
        return f"the columns of {name} are not what they were"
    for document in _documents(snapshot, place, options, part_bytes):
        if _is(document, place):
            stored = format_of(options.format).store(document, options.compression_level).data
            if sha256(stored).hexdigest() == place.part.sha256:
                return stored
            return "its rows are there, but this version of the libraries stores them differently"
    return f"rows of these pages of {name} have changed in the source"


def _documents(
    snapshot: Snapshot, place: Place, options: BackupOptions, part_bytes: int
) -> Iterator[Document]:
    """What a backup would make of the part's range now (tasks/carry.py)."""
    table = snapshot.dataset.table(place.table.name)
    range_ = Range(table.name, place.part.first_page, place.part.end_page)
    belongs = belonging(snapshot.dataset, table.name)
    reader = RangeReader(snapshot, range_, piece_bytes(part_bytes))
    try:
        while not reader.finished:
            rows = reader.next_piece()
            if rows is None:
                return
            ordered, _ = index.arranged(rows, table.columns, belongs)
            yield from format_of(options.format).serialize(
                ordered, table.columns, part_bytes, options.compression_level
            )
    finally:
        reader.close()


def _is(document: Document, place: Place) -> bool:
    return sha256(document.data).hexdigest() == place.part.plain_sha256
