"""Range keys of a database, without a backup."""

from __future__ import annotations

from collections import defaultdict

from convault.models import BackupOptions, RangeKey
from convault.ranges.ranges import cut
from convault.sources.base import Snapshot
from tasks.chunk import keys_of
from tests.sources.reading import source


def keys_in(
    snapshot: Snapshot, options: BackupOptions | None = None, *, range_pages: int = 4
) -> list[RangeKey]:
    """The key of every range of the snapshot's dataset."""
    ranges = [
        range_
        for table in snapshot.dataset.tables
        if table.kind == "r"
        for range_ in cut(table.name, snapshot.heap_bytes(table), snapshot.page_bytes, range_pages)
    ]
    return keys_of(snapshot, options or BackupOptions(), ranges, workers=2)


def keys(url: str, options: BackupOptions | None = None) -> dict[str, list[str]]:
    """By table: the key, or else the reason, of each range."""
    found: dict[str, list[str]] = defaultdict(list)
    with source(url).snapshot() as snapshot:
        for key in keys_in(snapshot, options):
            assert (key.key is None) == bool(key.reason)
            found[key.range.table.name].append(key.key or key.reason)
    return dict(found)
