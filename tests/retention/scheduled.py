"""Actors that take turns: each runs until its next request to the store or the catalog, and who is
next is drawn from a seed. So an interleaving can be had again.

The store and the catalog are in memory; what is tried out is the code that uses them. The catalog's
locks are as Postgres has them: shared or alone, gone with their session.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, cast
from uuid import UUID, uuid4

from obstore.store import MemoryStore

from convault.catalog.base import AuditEntry, BackupRecord, BackupStatus, Catalog
from convault.errors import BusyError, LeaseLost, NotFoundError
from convault.stores.base import ObjectInfo
from convault.stores.objects import ObjectStore
from tests.patience import PATIENCE


class Schedule:
    """Lets one actor run at a time."""

    def __init__(self, seed: int, after_each: Callable[[], None]) -> None:
        self._rng = random.Random(seed)
        self._after_each = after_each
        self._turns: dict[str, threading.Semaphore] = {}
        self._back = threading.Semaphore(0)
        self._ended: set[str] = set()
        self.errors: dict[str, Exception] = {}
        self.steps = 0

    def step(self) -> None:
        """Give the turn back, and wait for the next one. Threads that an actor starts share its."""
        turn = self._turns.get(threading.current_thread().name)
        if turn is not None:
            self._back.release()
            turn.acquire()

    def run(self, actors: dict[str, Callable[[], object]]) -> None:
        """All of them, to their ends; their errors are kept."""

        def act(name: str, body: Callable[[], object]) -> None:
            self._turns[name].acquire()
            try:
                body()
            except Exception as error:  # noqa: BLE001 - looked at by whoever runs the schedule
                self.errors[name] = error
            finally:
                self._ended.add(name)
                self._back.release()

        threads = []
        for name, body in actors.items():
            self._turns[name] = threading.Semaphore(0)
            threads.append(threading.Thread(target=act, args=(name, body), name=name, daemon=True))
        for thread in threads:
            thread.start()
        while left := sorted(set(actors) - self._ended):
            self._turns[self._rng.choice(left)].release()
            assert self._back.acquire(timeout=PATIENCE)
            self.steps += 1
            self._after_each()
        for thread in threads:
            thread.join(PATIENCE)


class SteppingStore(ObjectStore):
    """A store in memory; before each request it is somebody's turn."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(MemoryStore(), "memory://scheduled")
        self._schedule = schedule

    def put(self, key: str, data: bytes) -> bool:
        self._schedule.step()
        return super().put(key, data)

    def replace(self, key: str, data: bytes) -> None:
        self._schedule.step()
        super().replace(key, data)

    def head(self, key: str) -> ObjectInfo:
        self._schedule.step()
        return super().head(key)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._schedule.step()
        yield from list(super().list(prefix))

    def delete(self, key: str) -> None:
        self._schedule.step()
        super().delete(key)


class MemoryCatalog:
    """As much of a catalog as backups, deletions and sweeps need. `locking` off: as if nobody had
    thought of it, so that it can be shown that the schedules find what goes wrong then."""

    def __init__(self, schedule: Schedule, repository_id: UUID, *, locking: bool = True) -> None:
        self._schedule = schedule
        self._repository_id = repository_id
        self._installation_id: UUID | None = None
        self._rows: dict[UUID, BackupRecord] = {}
        self._locking = locking
        self._shared: set[UUID] = set()
        self._alone: UUID | None = None
        self.entries: list[AuditEntry] = []

    def become(self, installation_id: UUID) -> Catalog:
        self._installation_id = installation_id
        return cast(Catalog, self)

    def installation_id(self) -> UUID | None:
        return self._installation_id

    def now(self) -> datetime:
        return datetime.now(UTC)

    def audit(self, entry: AuditEntry) -> None:
        self.entries.append(entry)

    def list(self, **_: object) -> list[BackupRecord]:
        self._schedule.step()
        return list(self._rows.values())

    def get(self, backup_id: UUID) -> BackupRecord:
        self._schedule.step()
        if backup_id not in self._rows:
            raise NotFoundError("no such row")
        return self._rows[backup_id]

    def add(self, record: BackupRecord, *, keep_times: bool = False) -> BackupRecord:
        return self._rows.setdefault(record.id, record)

    def update(self, backup_id: UUID, **columns: Any) -> BackupRecord:
        self._schedule.step()
        self._set(backup_id, columns)
        return self._rows[backup_id]

    def replace(self, seen: BackupRecord, **columns: Any) -> BackupRecord | None:
        self._schedule.step()
        if self._rows.get(seen.id) != seen:
            return None
        self._set(seen.id, columns)
        return self._rows[seen.id]

    def abandoned(self) -> list[UUID]:
        return []

    def begin(self, backup_id: UUID, options: dict[str, Any]) -> Held:
        session = self._take(alone=False)
        now = self.now()
        self._rows[backup_id] = BackupRecord(
            id=backup_id, status=BackupStatus.PROCESSING, options=options, created_at=now,
            updated_at=now, repository_id=self._repository_id, lease_expires_at=now,
        )  # fmt: skip
        return Held(self, session)

    def guard(self, repository_id: UUID, *, alone: bool = False) -> Held:
        return Held(self, self._take(alone=alone))

    def kill_sessions(self) -> None:
        """As a server does that restarts. Leases last, as their rows say."""
        self._schedule.step()
        self._shared.clear()
        self._alone = None

    def holds(self, session: UUID) -> bool:
        self._schedule.step()
        return not self._locking or session in self._shared or session == self._alone

    def free(self, session: UUID) -> None:
        self._shared.discard(session)
        if self._alone == session:
            self._alone = None

    def _take(self, *, alone: bool) -> UUID:
        session = uuid4()
        self._schedule.step()
        if not self._locking:
            return session
        if alone:
            working = any(r.status is BackupStatus.PROCESSING for r in self._rows.values())
            if self._shared or self._alone or working:
                raise BusyError("a backup is at work")
            self._alone = session
        else:
            while self._alone is not None:
                self._schedule.step()
            self._shared.add(session)
        return session

    def _set(self, backup_id: UUID, columns: dict[str, Any]) -> None:
        changed = self._rows[backup_id].model_copy(update={**columns, "updated_at": self.now()})
        self._rows[backup_id] = changed


class Held:
    """A lease or a guard."""

    def __init__(self, catalog: MemoryCatalog, session: UUID) -> None:
        self._catalog = catalog
        self._session = session

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._catalog.free(self._session)

    def check(self) -> None:
        if not self._catalog.holds(self._session):
            raise LeaseLost("its session is gone")
