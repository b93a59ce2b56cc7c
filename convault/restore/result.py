"""What a restore did, or would do."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from convault.models import Statement, TableName
from convault.restore.lacking import Lack
from convault.restore.statements import Fault


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows of one table, counted."""

    inserted: int = 0
    skipped: int = 0
    """they were there: left as they were, or the same already"""
    overwritten: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did; with `dry_run`, what it would do."""

    rows: dict[TableName, int]
    """per table, as counted in the target; of live tables, the backup's rows that are there now"""
    seconds: float
    left_out: tuple[Statement, ...]
    """statements that need something outside the backup that the target does not have; `needs` has
    only what is missing"""
    faults: tuple[Fault, ...]
    """statements that the target refused"""
    redacted: tuple[Statement, ...]
    """statements that ran, or were left out, with a marker where the source has a secret"""
    recomputed: dict[TableName, int]
    """rows that have other values in their generated columns than in the backup, where any have"""
    changes: dict[TableName, Changes] = field(default_factory=dict)
    """per table of the target"""
    restore_id: UUID | None = None
    """for `convault restore --undo`; None where nothing was replaced"""
    missing_users: dict[str, int] = field(default_factory=dict)
    """rows by the foreign key into a managed schema that found nobody"""
    lacking: tuple[Lack, ...] = ()
    """what the target does not have, with the SQL to add it"""
    owner: str | None = None
    """the role that owns what was made, where it is another one than that of the target's URL"""
    notes: tuple[str, ...] = ()
    """what else the operator should know"""
    dry_run: bool = False

    @property
    def complete(self) -> bool:
        """Whether all that leans on nothing outside the backup is as it was."""
        return not self.recomputed and all(fault.outside for fault in self.faults)
