"""What leaves a copy: what was purged, what was deleted or its rules do not keep, and garbage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from convault.catalog.base import BackupRecord, Catalog, Guard
from convault.repository import Repository
from convault.retention.garbage import Garbage, look
from convault.retention.sweeping import Purged, Swept, erase, named_by, sweep_alone
from convault.trash import move_to_trash, trashed


@dataclass(frozen=True, slots=True)
class Leaving:
    """The copy, and who keeps everybody else out of it."""

    copy: Repository
    catalog: Catalog
    rows: Mapping[UUID, BackupRecord]
    """of the repository"""

    def purge(self, guard: Guard, backups: Sequence[UUID]) -> list[Purged]:
        """Erase backups at once, wherever in the copy they are. SweepRefused when what the others
        need cannot be told for certain; LeaseLost, StoreError, CatalogError."""
        if not backups:
            return []
        there = set(self.copy.backup_ids())
        for backup_id in backups:
            guard.check()
            if backup_id in there:
                move_to_trash(self.copy, backup_id)
        named = {backup_id: named_by(self.copy, backup_id) for backup_id in backups}
        garbage = self._look(backups)
        return [
            erase(self.copy, guard, garbage, backup_id, named[backup_id]) for backup_id in backups
        ]

    def leave(self, guard: Guard, backups: Sequence[UUID]) -> None:
        """Move backups to the copy's trash. LeaseLost, StoreError."""
        for backup_id in backups:
            guard.check()
            move_to_trash(self.copy, backup_id)

    def sweep(self, guard: Guard, *, grace: timedelta, trash: timedelta) -> Swept:
        """Empty the copy's trash, and remove what no manifest of it named for long enough. The
        errors of `purge`."""
        return sweep_alone(
            self.copy, guard, self._look, {}, lambda expired: None, grace=grace, trash=trash
        )

    def _look(self, without: Sequence[UUID] = ()) -> Garbage:
        """Of the copy's own backups alone, as its own manifests tell of them."""
        there = {*self.copy.backup_ids(), *trashed(self.copy)}
        rows = {
            backup_id: row.model_copy(update={"revision": 1})
            for backup_id, row in self.rows.items()
            if backup_id in there
        }
        return look(self.copy, self.catalog.now(), rows, without)
