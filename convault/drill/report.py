"""What a drill found: each check passed, failed, or was not verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class Outcome(StrEnum):
    """Of a check, or of a drill as a whole."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_VERIFIED = "not verified"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    """restore, rows, digest, foreign key, sequence, assertion, ..."""
    subject: str
    """the table, the key, ...: a name, never a value"""
    outcome: Outcome
    detail: str = ""
    """for people"""

    def to_json(self) -> dict[str, str]:
        """For programs."""
        return {
            "check": self.what,
            "subject": self.subject,
            "outcome": self.outcome.value,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class DrillReport:
    """All of them."""

    backup_id: UUID
    place: str
    """where it was restored: never credentials"""
    started_at: datetime
    finished_at: datetime
    checks: tuple[Check, ...]

    @property
    def outcome(self) -> Outcome:
        """Failed when a check failed; passed when rows were proven by their digest, and nothing
        failed; not verified otherwise."""
        if self.count(Outcome.FAILED):
            return Outcome.FAILED
        proven = any(c.what == "digest" and c.outcome is Outcome.PASSED for c in self.checks)
        return Outcome.PASSED if proven else Outcome.NOT_VERIFIED

    def count(self, outcome: Outcome) -> int:
        """How many checks ended so."""
        return sum(check.outcome is outcome for check in self.checks)

    @property
    def summary(self) -> str:
        """In a line, with all three numbers."""
        return summary({o.value.replace(" ", "_"): self.count(o) for o in Outcome}, self.outcome)

    def to_json(self) -> dict[str, Any]:
        """As the catalog keeps it, and for programs."""
        return {
            "outcome": self.outcome.value,
            "backup_id": str(self.backup_id),
            "place": self.place,
            "started_at": self.started_at.isoformat(),
            "finished_at": self.finished_at.isoformat(),
            "seconds": round((self.finished_at - self.started_at).total_seconds(), 3),
            **{o.value.replace(" ", "_"): self.count(o) for o in Outcome},
            "checks": [check.to_json() for check in self.checks],
        }


def summary(counts: dict[str, Any], outcome: str) -> str:
    """`passed (12 passed, 0 failed, 3 not verified)`, of a report as JSON has it."""
    numbers = ", ".join(f"{counts.get(o.value.replace(' ', '_'), 0)} {o.value}" for o in Outcome)
    return f"{outcome} ({numbers})"


def passed_or_failed(what: str, subject: str, faults: Sequence[str], detail: str = "") -> Check:
    """Failed for these `faults`, or passed when there are none."""
    if faults:
        return Check(what, subject, Outcome.FAILED, "; ".join(faults))
    return Check(what, subject, Outcome.PASSED, detail)


def not_verified(what: str, subject: str, why: str) -> Check:
    """Could not be looked at."""
    return Check(what, subject, Outcome.NOT_VERIFIED, why)
