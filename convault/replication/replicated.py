"""What a run of a copy did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from convault.errors import CopyIncomplete
from convault.replication.transport import Brought
from convault.retention.sweeping import Purged, Swept


@dataclass(frozen=True, slots=True)
class Fault:
    """A backup that could not be copied."""

    backup_id: UUID
    reason: str
    """for people; holds no row's value"""


@dataclass(slots=True)
class Replicated:
    """What travelled and what left, by now."""

    name: str
    url: str
    pending: tuple[UUID, ...] = ()
    """that were missing when the run began, newest first"""
    copied: list[UUID] = field(default_factory=list)
    brought: Brought = field(default_factory=Brought)
    purged: list[Purged] = field(default_factory=list)
    left: list[UUID] = field(default_factory=list)
    """moved to the copy's trash"""
    passed_over: tuple[UUID, ...] = ()
    """that the copy's own rules do not keep"""
    unexplained: tuple[UUID, ...] = ()
    """that only the copy has, and nothing says that they were deleted"""
    swept: Swept | None = None
    """None where nothing was swept, because something could not be copied"""
    faults: list[Fault] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.name,
            "url": self.url,
            "pending": [str(one) for one in self.pending],
            "copied": [str(one) for one in self.copied],
            "objects": self.brought.objects,
            "bytes": self.brought.bytes,
            "repaired": self.brought.repaired,
            "purged": [one.to_json() for one in self.purged],
            "trashed": [str(one) for one in self.left],
            "passedOver": [str(one) for one in self.passed_over],
            "unexplained": [str(one) for one in self.unexplained],
            "sweep": None if self.swept is None else self.swept.to_json(),
            "faults": [{"backup": str(one.backup_id), "reason": one.reason} for one in self.faults],
        }

    def require_complete(self) -> None:
        """CopyIncomplete when a backup could not be copied."""
        if self.faults:
            first = self.faults[0]
            more = f" {len(self.faults) - 1} more could not either." if self.faults[1:] else ""
            raise CopyIncomplete(
                f"Backup {first.backup_id} could not be copied to {self.name}: {first.reason}"
                f"{more} The others were; nothing was removed from the copy but what was purged.",
                backup=first.backup_id,
            )
