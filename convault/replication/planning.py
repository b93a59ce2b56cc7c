"""What a copy lacks and what it should not have, from what is seen of both places. Pure.

Nothing is ever let go from a copy because it was not seen at the first place: that may be a listing
that was cut off, a disk that is not mounted, or somebody who wiped it. A backup goes only when the
catalog says that it was deleted or purged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from convault.catalog.base import BackupRecord, BackupStatus


@dataclass(frozen=True, slots=True)
class Seen:
    """The backups of one place."""

    revisions: Mapping[UUID, int]
    """by backup, the highest of its manifest"""
    trashed: frozenset[UUID] = field(default_factory=frozenset)
    """in its trash, and not in `revisions`"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to a copy."""

    copying: tuple[UUID, ...]
    """newest first: missing there, in its trash, or of an older revision"""
    purging: tuple[UUID, ...]
    """to be erased, its trash included"""
    leaving: tuple[UUID, ...]
    """to be moved to its trash"""
    unexplained: tuple[UUID, ...]
    """the first place has them no more, and nothing says that they were deleted: they stay"""


def plan(
    first: Seen, copy: Seen, rows: Mapping[UUID, BackupRecord], *, mirror: bool = True
) -> Plan:
    """`rows` are the catalog's. `mirror`: deletions follow; otherwise the copy has its own rules,
    and only what was purged follows here."""
    copying = [
        backup_id
        for backup_id, revision in first.revisions.items()
        if revision > copy.revisions.get(backup_id, 0)
    ]
    purging, leaving, unexplained = [], [], []
    for backup_id in sorted({*copy.revisions, *copy.trashed} - first.revisions.keys()):
        row = rows.get(backup_id)
        deleted = row is not None and row.status is BackupStatus.DELETED
        if deleted and row is not None and row.purged_at is not None:
            purging.append(backup_id)
        elif backup_id in copy.trashed:
            continue
        elif not deleted:
            unexplained.append(backup_id)
        elif mirror:
            leaving.append(backup_id)

    def age(backup_id: UUID) -> tuple[bool, float]:
        row = rows.get(backup_id)
        return (row is not None, row.created_at.timestamp() if row is not None else 0.0)

    copying.sort(key=lambda backup_id: (age(backup_id), backup_id.bytes), reverse=True)
    return Plan(tuple(copying), tuple(purging), tuple(leaving), tuple(unexplained))
