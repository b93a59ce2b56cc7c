"""A copy's own retention: which backups its rules keep, and which it need not even fetch. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from convault.catalog.base import BackupRecord, BackupStatus
from convault.errors import ConvaultError
from convault.manifest import Manifest
from convault.retention.candidates import candidates
from convault.retention.deciding import Decision, decide
from convault.retention.policy import Policy


@dataclass(frozen=True, slots=True)
class Kept:
    """What a copy's rules say."""

    leaving: tuple[Decision, ...]
    """of what it holds"""
    passed_over: frozenset[UUID]
    """of what it lacks: they would leave again at once"""


def keep(
    policy: Policy,
    held: Mapping[UUID, Manifest | ConvaultError],
    lacking: Mapping[UUID, Manifest | ConvaultError],
    rows: Mapping[UUID, BackupRecord],
    now: datetime,
    zone: ZoneInfo,
    clocks: str | None = None,
) -> Kept:
    """`held` and `lacking`: manifests of the copy, and of those that only the first place has;
    `rows` are this repository's. What the first place deleted stays as long as the copy's rules
    keep it; at most a third of a group's good ones leave at once; what the catalog does not know
    stays. `clocks` says why nothing may leave."""
    manifests = {**lacking, **held}
    known = [
        row.model_copy(update={"status": BackupStatus.COMPLETED})
        for row in rows.values()
        if row.id in manifests
    ]

    def decided(without: frozenset[UUID], *, unattended: bool) -> list[Decision]:
        found = [
            candidate
            for repository_id in {row.repository_id for row in known if row.repository_id}
            for candidate in candidates(known, manifests, repository_id)
            if candidate.id not in without
        ]
        return decide(found, policy, now, zone, unattended=unattended, clocks=clocks)

    going = {d.backup.id for d in decided(frozenset(), unattended=False) if d.goes}
    passed_over = frozenset(going & lacking.keys())
    left = decided(passed_over, unattended=True)
    return Kept(tuple(d for d in left if d.goes and d.backup.id in held), passed_over)
