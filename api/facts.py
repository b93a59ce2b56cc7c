"""What `GET /verify` tells: each fact is found when it is asked for, none is written down here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from convault.catalog import Catalog
from convault.doctor import repository, source, store
from convault.doctor.facts import Check, Fact, ask_all
from convault.doctor.finding import Finding
from convault.doctor.lately import examine_clock, judge_age, last_good
from convault.errors import CatalogError
from convault.notify.telling import limits_of
from convault.settings import Settings
from convault.stores.base import Store
from deployments.facts import examine_schedules, examine_server, examine_workers

WITHIN = 25.0
"""seconds for all checks, which are made side by side"""
AGAIN = 5.0
"""seconds between two looks at everything: who asks meanwhile is told what was found"""
PROBE_AGAIN = 60.0
"""seconds between two probe objects at least"""


@dataclass(frozen=True, slots=True)
class _Probed:
    finding: Finding
    at: datetime
    clock: float


class Facts:
    """Looks at everything; any thread may ask, and one at a time looks."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        """Nothing is asked yet."""
        self._settings, self._catalog = settings, catalog
        self._lock, self._probing = threading.Lock(), threading.Lock()
        self._found: list[Fact] = []
        self._looked: float | None = None
        self._probed: _Probed | None = None

    def all(self) -> list[Fact]:
        """Not older than AGAIN, but for the probe object."""
        with self._lock:
            if self._looked is None or time.monotonic() - self._looked >= AGAIN:
                self._found = ask_all(self._checks(), within=WITHIN)
                self._looked = time.monotonic()
            return self._found

    def _checks(self) -> list[Check]:
        settings, catalog = self._settings, self._catalog
        return [
            Check("database", lambda: source.examine(settings)[0], needed=True),
            Check("catalog", lambda: [repository.examine_catalog(catalog)], needed=True),
            Check("store", self._store, needed=True),
            Check("prefect", lambda: [examine_server()], needed=True),
            Check("worker", examine_workers, needed=True),
            Check("last good backup", self._last_good),
            Check("schedules", lambda: [examine_schedules(catalog, datetime.now(UTC))]),
            Check("copies", lambda: store.examine_copies(settings, catalog)),
            Check("clock", lambda: [examine_clock(catalog)]),
        ]

    def _last_good(self) -> Iterable[Finding]:
        limits, now = limits_of(self._settings), self._catalog.now()
        age = None if limits.max_age is None else now - limits.max_age.before(now, limits.zone)
        yield judge_age(last_good(self._catalog), now, age)

    def _store(self) -> Iterable[Finding]:
        known: Catalog | None = self._catalog
        try:
            self._catalog.repository_id()
        except CatalogError:
            known = None  # which is a fact of its own
        return store.examine(self._settings, known, None, self._probe)

    def _probe(self, opened: Store) -> Finding:
        """What the probe object found, now or within the last minute."""
        with self._probing:
            before = self._probed
            if before is None or time.monotonic() - before.clock >= PROBE_AGAIN:
                found = repository.probe(opened)
                self._probed = before = _Probed(found, datetime.now(UTC), time.monotonic())
        told = f"{before.finding.found}, at {before.at.isoformat(timespec='seconds')}"
        return Finding(before.finding.name, before.finding.state, told, before.finding.remedy)
