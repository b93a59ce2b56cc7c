"""What a decision knows of each backup: a row, and what its manifest says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from convault.catalog.base import BackupRecord, BackupStatus
from convault.errors import ConvaultError
from convault.manifest import Manifest
from convault.retention.groups import group_in_words, group_of

LOST = "lost: "
"""how `error` begins of a row whose manifest vanished (`convault.reconcile`)"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backup, or the row of a run that failed."""

    id: UUID
    status: BackupStatus
    taken_at: datetime
    """when its snapshot was taken; of a failed run, when its row was made"""
    group: str = ""
    """as `groups.group_of` tells it; of failed runs ''"""
    group_name: str = ""
    """for people"""
    rows: Mapping[str, int] | None = None
    """by table; None when there is no manifest that can be read"""
    pinned: str | None = None
    """why it must stay"""
    verified_at: datetime | None = None
    acknowledged: bool = False
    """an operator said that its rows are as they should be"""
    lost: bool = field(default=False)
    """its manifest is gone, and nobody said that it may be"""

    @property
    def readable(self) -> bool:
        """Whether it is complete, and its manifest can be read."""
        return self.status is BackupStatus.COMPLETED and self.rows is not None

    @property
    def good(self) -> bool:
        """Whether it can stand for its group: complete, readable, and not empty."""
        return self.readable and any((self.rows or {}).values())


def candidates(
    rows: Iterable[BackupRecord],
    manifests: Mapping[UUID, Manifest | ConvaultError],
    repository_id: UUID,
) -> list[Candidate]:
    """Completed and failed rows of this repository. Others are at work, or wait."""
    found = []
    for row in rows:
        if row.repository_id != repository_id:
            continue
        if row.status not in {BackupStatus.COMPLETED, BackupStatus.FAILED}:
            continue
        manifest = manifests.get(row.id)
        whole = manifest if isinstance(manifest, Manifest) else None
        found.append(
            Candidate(
                id=row.id,
                status=row.status,
                taken_at=row.created_at if whole is None else whole.created_at,
                group="" if whole is None else group_of(whole),
                group_name="" if whole is None else group_in_words(whole),
                rows=None if whole is None else {str(t.name): t.rows for t in whole.tables},
                pinned=row.pinned,
                verified_at=row.verified_at,
                acknowledged=row.acknowledged_at is not None,
                lost=row.status is BackupStatus.FAILED and (row.error or "").startswith(LOST),
            )
        )
    return found
