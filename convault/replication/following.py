"""What leaves a copy: what was purged, what was deleted or its rules do not keep, and garbage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from convault.catalog.base import BackupRecord, Catalog, Guard
from convault.errors import SweepRefused
from convault.repository import Repository
from convault.retention.clocks import MOST
from convault.retention.garbage import Garbage, look
from convault.retention.sweeping import Purged, Swept, erase, named_by, remove, sweep_alone
from convault.trash import move_to_trash, put_back, trashed


@dataclass(frozen=True, slots=True)
class Leaving:
    """The copy, and who keeps everybody else out of it."""

    copy: Repository
    catalog: Catalog
    rows: Mapping[UUID, BackupRecord]
    """of the repository"""
    vanished: Collection[UUID] = ()
    """backups that the copy had, whose manifests are gone though nobody removed them"""

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

    def erase_remnants(self, guard: Guard, backups: Collection[UUID]) -> int:
        """Erase what came of backups whose manifests never did, and never will: what no manifest
        names and was stored since they were begun. How many objects. The errors of `purge`."""
        begun = [row.started_at or row.created_at for i in backups if (row := self.rows.get(i))]
        if not begun:
            return 0
        garbage = self._look()
        since: datetime = min(begun) - MOST
        due = sorted(k for k in garbage.unneeded if garbage.listing[k].modified >= since)
        return len(remove(self.copy, guard, due))

    def take_back_pinned(self, guard: Guard) -> None:
        """Let what is pinned leave the copy's trash again. RepositoryError for a manifest that
        cannot be read; LeaseLost, StoreError."""
        for backup_id in sorted(trashed(self.copy).keys() - set(self.copy.backup_ids())):
            if backup_id in self.rows and self.rows[backup_id].pinned is not None:
                guard.check()
                put_back(self.copy, backup_id)

    def sweep(self, guard: Guard, *, grace: timedelta, trash: timedelta) -> Swept:
        """Empty the copy's trash of what is not pinned, and remove what no manifest of it named for
        long enough. The errors of `purge`."""
        pinned = {
            backup_id: row.model_copy(update={"deleted_at": None})
            for backup_id, row in self.rows.items()
            if row.pinned is not None
        }
        return sweep_alone(
            self.copy, guard, self._look, pinned, lambda expired: None, grace=grace, trash=trash
        )

    def _look(self, without: Sequence[UUID] = ()) -> Garbage:
        """Of the copy's own backups alone, as its own manifests tell of them."""
        for backup_id in self.vanished:
            raise SweepRefused(
                f"Nothing was removed: {self.copy.store.url} had backup {backup_id}, and its "
                "manifest is gone. Put it back; or, if it is not wanted any more, run `convault "
                "copy --new` once.",
                backup=backup_id,
            )
        there = {*self.copy.backup_ids(), *trashed(self.copy)}
        rows = {
            backup_id: row.model_copy(update={"revision": 1})
            for backup_id, row in self.rows.items()
            if backup_id in there
        }
        return look(self.copy, self.catalog.now(), rows, without)
