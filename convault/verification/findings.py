"""What a verification found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class FindingKind(StrEnum):
    """What is the matter with an object."""

    DAMAGED = "damaged"
    """it has not the bytes that were stored"""
    MISSING = "missing"
    """a backup needs it, and it is not there"""
    ORPHANED = "orphaned"
    """it is one of Convault's, and no backup needs it: a run that was killed leaves such"""
    UNKNOWN = "unknown"
    """it is none of Convault's"""


class Repair(StrEnum):
    """What can be done about it."""

    REPAIRED = "repaired"
    """it could be made again; the bytes are back, and were read again"""
    REPAIRABLE = "repairable"
    """it was made again, of rows that the source still holds unchanged or of what the manifest
    tells, and has the digest that it should have"""
    NOT_REPAIRABLE = "not repairable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One object."""

    kind: FindingKind
    key: str
    reason: str
    """for people; holds no value of a row"""
    backups: tuple[UUID, ...] = ()
    """that need it"""
    repair: Repair | None = None
    """None for manifests and Storage files, and for what was not looked at"""

    @property
    def hurts(self) -> bool:
        """Whether a backup cannot be restored because of it."""
        harmful = self.kind in {FindingKind.DAMAGED, FindingKind.MISSING}
        return harmful and self.repair is not Repair.REPAIRED

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "kind": self.kind,
            "key": self.key,
            "reason": self.reason,
            "backups": [str(backup) for backup in self.backups],
            "repair": self.repair,
        }


@dataclass(frozen=True, slots=True)
class Unread:
    """An object whose bytes nobody has looked at for the longest time."""

    key: str
    since: datetime
    """when it was last read and sound, or else stored"""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what was found."""

    store: str
    backups: tuple[UUID, ...]
    objects: int
    """that these backups need"""
    bytes: int
    read_objects: int = 0
    """that were read from their first byte to their last, manifests not counted"""
    read_bytes: int = 0
    oldest_unread: Unread | None = None
    """None when nothing is stored"""
    set_aside: int = 0
    """objects under damaged/"""
    findings: tuple[Finding, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether every object that a backup needs is there, as far as was looked."""
        return not any(finding.hurts for finding in self.findings)

    def with_findings(self, findings: Sequence[Finding]) -> Verification:
        """The same with these findings, in order."""
        order = list(FindingKind)
        ordered = sorted(findings, key=lambda found: (order.index(found.kind), found.key))
        return replace(self, findings=tuple(ordered))

    def to_json(self, now: datetime) -> dict[str, Any]:
        """For programs. Sizes in bytes, ages in seconds."""
        oldest = self.oldest_unread
        return {
            "sound": self.sound,
            "store": self.store,
            "backups": [str(backup) for backup in self.backups],
            "objects": self.objects,
            "bytes": self.bytes,
            "read_objects": self.read_objects,
            "read_bytes": self.read_bytes,
            "oldest_unread": None
            if oldest is None
            else {
                "key": oldest.key,
                "since": oldest.since.isoformat(),
                "seconds": max(0, round((now - oldest.since).total_seconds())),
            },
            "set_aside": self.set_aside,
            "findings": [finding.to_json() for finding in self.findings],
        }
