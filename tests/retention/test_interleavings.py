"""Backups, deletions, undeletions, purges and sweeps, in every order that a seed draws: no object
that a manifest names is ever gone, not even for a moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from convault.catalog.base import BackupStatus, Catalog
from convault.commit import commit
from convault.errors import BusyError, ConvaultError, NotFoundError
from convault.manifest import Manifest
from convault.repository import Repository
from convault.retention.audited import Actor
from convault.retention.operating import delete, undelete
from convault.retention.sweeping import purge, sweep
from tests.handmade import new_backup
from tests.retention.conftest import all_manifests, kept_contents
from tests.retention.scheduled import MemoryCatalog, Schedule, SteppingStore
from tests.soak import count

WHO = Actor("test", "cli")
NONE = timedelta(0)
PATIENCE = 40


class Trial:
    """A vault with two backups and an object that nothing names, and what may happen to it."""

    def __init__(self, seed: int, *, locking: bool = True) -> None:
        self.schedule = Schedule(seed, self._look)
        self.store = SteppingStore(self.schedule)
        self.repository = Repository.create(self.store)
        self.memory = MemoryCatalog(self.schedule, self.repository.repository_id, locking=locking)
        self.catalog: Catalog = self.memory.become(self.repository.installation_id)
        self._sizes: dict[UUID, dict[str, int]] = {}
        self.lost: set[str] = set()
        self.old, self.other = self.back_up(1), self.back_up(2)
        new_backup(self.repository, kept_contents(3), backup_id=uuid4())  # it was killed

    def back_up(self, number: int) -> Manifest:
        backup_id = uuid4()
        with self.catalog.begin(backup_id, {}) as lease:
            try:
                manifest = new_backup(self.repository, kept_contents(number), backup_id=backup_id)
                commit(self.repository, self.catalog, lease, manifest, metrics={})
            except ConvaultError as error:
                self.catalog.update(backup_id, status=BackupStatus.FAILED, error=error.message)
                raise
        return manifest

    def sweeps(self) -> None:
        """Two: what the first one finds is old enough for the second."""
        for _ in range(2):
            self.patiently(
                lambda: sweep(self.repository, self.catalog, WHO, grace=NONE, trash=NONE)
            )

    def patiently(self, act: Callable[[], object]) -> None:
        """Again, for so many turns, while somebody else is at work or it is not yet in the
        trash."""
        for _ in range(PATIENCE):
            try:
                act()
            except (BusyError, NotFoundError):
                self.schedule.step()
            else:
                return
        act()

    def actors(self) -> dict[str, Callable[[], object]]:
        repository, catalog, id_ = self.repository, self.catalog, self.old.backup_id
        return {
            "reuses the deleted one's": lambda: self.back_up(1),
            "reuses the orphan": lambda: self.back_up(3),
            "delete": lambda: delete(repository, catalog, id_, WHO, force=True),
            "undelete": lambda: self.patiently(lambda: undelete(repository, catalog, id_, WHO)),
            "purge": lambda: self.patiently(lambda: purge(repository, catalog, id_, WHO)),
            "sweep": self.sweeps,
            "sweep again": self.sweeps,
            "restart": self.memory.kill_sessions,
        }

    def _look(self) -> None:
        there = {meta.key: meta.size for meta in super(SteppingStore, self.store).list()}
        for manifest in self._manifests(there):
            for key, size in manifest.items():
                if there.get(key) != size:
                    self.lost.add(key)

    def _manifests(self, there: dict[str, int]) -> list[dict[str, int]]:
        """What each manifest names that is there now."""
        found = []
        for key in there:
            if key.endswith("/datapackage.json"):
                backup_id = UUID(key.split("/")[1])
                if backup_id not in self._sizes:
                    for manifest in all_manifests(self.repository):
                        self._sizes[manifest.backup_id] = manifest.objects()
                found.append(self._sizes[backup_id])
        return found


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_no_needed_object_is_ever_gone(capsys: pytest.CaptureFixture[str]) -> None:
    ended: dict[str, int] = {}
    for seed in range(count(60, 3000)):
        trial = Trial(seed)
        trial.schedule.run(trial.actors())
        assert trial.lost == set(), f"seed {seed}"
        for name, error in trial.schedule.errors.items():
            assert isinstance(error, ConvaultError), (seed, name, error)
        for name in trial.actors().keys() - trial.schedule.errors.keys():
            ended[name] = ended.get(name, 0) + 1
        assert trial.other.backup_id in trial.repository.backup_ids()
        trial.schedule.errors.clear()
    # Each of them comes through in some of the orders.
    assert set(ended) == set(Trial(0).actors())
    with capsys.disabled():
        print(f"\n{count(60, 3000)} interleavings; who came through how often: {ended}")


def test_without_the_lock_the_schedules_find_what_is_lost() -> None:
    for seed in range(200):
        trial = Trial(seed, locking=False)
        trial.schedule.run(trial.actors())
        if trial.lost:
            return
    pytest.fail("200 schedules found nothing: they look at too little")
