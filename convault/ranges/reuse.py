"""Which ranges of a new backup are those of its parent, and need not be read. All of it is pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from convault.dataset.belonging import indexed
from convault.encryption.age import SUFFIX as ENCRYPTED
from convault.layout import index_path
from convault.manifest import IndexEntry, Manifest, PartEntry, RangeEntry, ReuseFacts, TableEntry
from convault.models import Dataset, Part, Range, RangeKey, SourceFacts, TableName
from convault.ranges.parent import Parentage
from convault.ranges.range_keys import incomparable

CHANGED = "its rows changed"
NEW = "the parent has no such range"
MAX_INDEXES = 32
"""of a backup: who looks for a conversation looks into each"""


@dataclass(frozen=True, slots=True)
class Taking:
    """What is taken over, and what is left to read."""

    keys: tuple[RangeKey, ...]
    """of every range, in the order they were given; each says whether it was taken over"""
    parts: tuple[Part, ...] = ()
    """of the ranges that were taken over"""
    indexes: tuple[IndexEntry, ...] = ()
    """of earlier backups, which tell of these parts"""
    parent: Manifest | None = None
    """that they come from, or that what is read is compared with"""
    full_because: str = ""
    """why every row is read"""

    @property
    def to_read(self) -> frozenset[Range]:
        """The ranges whose rows are read."""
        return frozenset(key.range for key in self.keys if not key.taken_over)


def take_over(
    parentage: Parentage,
    facts: SourceFacts,
    dataset: Dataset,
    keys: Sequence[RangeKey],
    *,
    readers: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
) -> Taking:
    """Decide for every range whether it is the parent's. `readers` are the recipients who must be
    able to open its parts, none when they are plain; `sizes` are of the objects that are in the
    store, in bytes by key."""
    parent = parentage.parent
    why = parentage.full_because
    if parent is not None and not why:
        why = _hindrance(parent, facts, dataset, sizes or {})
    if parent is None or why:
        return Taking(tuple(keys), parent=parent, full_because=why)
    tables = {table.name: _Known(table, parent) for table in parent.tables}
    covered = _covered(parent) ^ set(indexed(dataset))
    decided, parts = [], []
    for key in keys:
        known = tables.get(key.range.table)
        if key.key is None:
            reason = key.reason
        elif known is None or key.range.table in covered:
            reason = NEW
        else:
            reason = known.objection(key, readers, sizes or {})
        if reason or known is None:
            decided.append(replace(key, read_because=reason))
            continue
        found = known.parts(key.range)
        parts += found
        digest = known.ranges[_place(key.range)].digest
        decided.append(replace(key, taken_over=True, digest=digest))
    indexes = _further(parent) if parts else ()
    return Taking(tuple(decided), tuple(parts), indexes, parent)


def differing(
    parent: Manifest | None, keys: Iterable[RangeKey], parts: Iterable[Part]
) -> tuple[str, ...]:
    """The ranges that were read, have the parent's key, and are not stored as the parent has them:
    the rows of one of the two are wrong. Of encrypted parts only their sizes can be compared."""
    if parent is None:
        return ()
    tables = {table.name: _Known(table, parent) for table in parent.tables}
    stored: dict[Range, list[Part]] = {}
    for part in parts:
        stored.setdefault(part.range, []).append(part)
    found = []
    for key in keys:
        known = tables.get(key.range.table)
        entry = None if known is None else known.ranges.get(_place(key.range))
        if known is None or entry is None or key.key is None or entry.key != key.key:
            continue
        now = sorted(stored.get(key.range, []), key=lambda part: part.ordinal)
        other = [_told(part) for part in now] != [_told(p) for p in known.parts(key.range)]
        if other or (None not in (entry.digest, key.digest) and entry.digest != key.digest):
            found.append(str(key.range))
    return tuple(found)


def reuse_facts(
    taking: Taking, parts: Iterable[Part], *, range_pages: int, taken_at: str
) -> ReuseFacts:
    """What the manifest says of it; `parts` are all of the backup's, `taken_at` is the snapshot's
    time."""
    before = None if taking.parent is None else taking.parent.reuse
    taken = [key for key in taking.keys if key.taken_over]
    sizes = {part.key: part.stored_bytes for part in taking.parts}
    return ReuseFacts(
        range_pages=range_pages,
        reason=taking.full_because or ("" if taken else "no range is as the parent has it"),
        ranges=len(taken),
        rows=sum(part.rows for part in taking.parts),
        stored_bytes=sum(sizes.values()),
        since_full=0 if before is None or not taken else before.since_full + 1,
        full_at=datetime.fromisoformat(taken_at) if before is None or not taken else before.full_at,
        differing=differing(taking.parent, taking.keys, parts),
    )


class _Known:
    """A table of the parent."""

    def __init__(self, table: TableEntry, manifest: Manifest) -> None:
        self.table = table.name
        self.ranges: dict[tuple[int, int | None], RangeEntry] = {
            (entry.first_page, entry.end_page): entry for entry in table.ranges
        }
        self._parts: dict[tuple[int, int | None], list[PartEntry]] = {}
        for part in table.parts:
            self._parts.setdefault((part.first_page, part.end_page), []).append(part)
        facts = manifest.encryption
        self._readers = {} if facts is None else {k.id: k.recipients for k in facts.digest_keys}

    def objection(self, key: RangeKey, readers: Sequence[str], sizes: Mapping[str, int]) -> str:
        """Why the range is not taken over; '' when it is."""
        entry = self.ranges.get(_place(key.range))
        if entry is None:
            return NEW
        if entry.key != key.key or entry.rows != key.rows:
            return CHANGED
        for part in self._parts.get(_place(key.range), ()):
            able = () if part.digest_key is None else self._readers[part.digest_key]
            if set(able) != set(readers):
                return "its parts are encrypted to others"
            if sizes.get(part.key) != part.stored_bytes:
                return "a part of it is missing from the store, or damaged"
        return ""

    def parts(self, range_: Range) -> list[Part]:
        """Its parts as receipts, in their order."""
        return [
            Part(
                range=range_,
                ordinal=part.ordinal,
                key=part.key,
                sha256=part.sha256,
                stored_bytes=part.stored_bytes,
                plain_sha256=part.plain_sha256,
                plain_bytes=part.plain_bytes,
                rows=part.rows,
                digest_key=part.digest_key,
            )
            for part in sorted(self._parts.get(_place(range_), ()), key=lambda p: p.ordinal)
        ]


def _hindrance(
    parent: Manifest, facts: SourceFacts, dataset: Dataset, sizes: Mapping[str, int]
) -> str:
    """Why nothing of the parent may be taken over."""
    source = parent.source
    name = f"backup {parent.backup_id}"
    if parent.selection is not None:
        return f"{name} is filtered"
    if (source.system_identifier, source.database_oid, source.timeline) != (
        facts.system_identifier, facts.database_oid, facts.timeline
    ):  # fmt: skip
        return f"{name} is of another database, or of another history of this one"
    if source.started_at != facts.started_at:
        return f"the server was started after {name}, and may be a copy that was put back"
    if indexed(dataset) and parent.index is None:
        return f"{name} has no index"
    if any(sizes.get(index.key) != index.bytes for index in parent.all_indexes):
        return f"an index of {name} is missing from where backups share it"
    if len(parent.all_indexes) >= MAX_INDEXES:
        return f"{name} has {len(parent.all_indexes)} indexes already"
    return incomparable(source, facts)


def _further(parent: Manifest) -> tuple[IndexEntry, ...]:
    """The parent's indexes as further ones. Those that tell of no part are left out."""
    empty = parent.index is not None and not any(
        not entry.taken_over and entry.rows for table in parent.tables for entry in table.ranges
    )
    found = parent.all_indexes[1:] if empty else parent.all_indexes
    return tuple(
        index.model_copy(update={"path": index_path(number, index.path.endswith(ENCRYPTED))})
        for number, index in enumerate(found, 1)
    )


def _covered(manifest: Manifest) -> set[TableName]:
    return set() if manifest.index is None else set(manifest.index.tables)


def _place(range_: Range) -> tuple[int, int | None]:
    return range_.first_page, range_.end_page


def _told(part: Part) -> tuple[object, ...]:
    """What must be the same of a part whenever the same rows are stored."""
    content = part.plain_sha256 if part.digest_key is None else None
    return part.ordinal, part.rows, part.plain_bytes, content
