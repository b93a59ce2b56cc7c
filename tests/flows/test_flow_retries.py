"""How often each step is tried: as often as it says, and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from threading import Lock

import pytest

from convault.catalog import BackupStatus
from convault.errors import ConvaultError, StoreError, StoreUnavailable
from convault.installation import Installation, open_installation
from convault.repository import Repository
from convault.settings import Settings
from flows.backup import backup
from tasks.begin import begin
from tasks.carry import carry
from tasks.chunk import chunk
from tasks.compress import compress
from tasks.count import count
from tasks.fetch import fetch
from tasks.policy import only_transient
from tasks.reconcile import reconcile
from tasks.record import record
from tasks.serialize import serialize
from tasks.upload import upload
from tests.faulty import FaultyStore, loses_answers
from tests.flows.application import Application, differences

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]

DRILLED = "data/messages/"
"""parts of the table whose puts fail; the first of them is the one that does"""


class Drill:
    """Counts the puts of every part, and fails the first ones of one part of one table."""

    def __init__(self, error: ConvaultError, failures: int) -> None:
        self.puts: Counter[str] = Counter()
        self.drilled: str | None = None
        self._error = error
        self._failures = failures
        self._lock = Lock()

    def before_put(self, key: str) -> None:
        if not key.startswith("data/"):
            return
        with self._lock:
            self.puts[key] += 1
            if self.drilled is None and key.startswith(DRILLED):
                self.drilled = key
            fails = key == self.drilled and self.puts[key] <= self._failures
        if fails:
            raise type(self._error)(self._error.message)


@pytest.fixture
def drill(monkeypatch: pytest.MonkeyPatch) -> Callable[[ConvaultError, int], Drill]:
    """Have the flow's store fail so often, and retries wait for nothing."""
    for task in (upload, fetch, record):
        monkeypatch.setattr(task, "retry_delay_seconds", 0)

    def prepare(error: ConvaultError, failures: int) -> Drill:
        made = Drill(error, failures)

        def opened(settings: Settings) -> Installation:
            installation = open_installation(settings)
            put = installation.repository.store.put

            def drilled_put(key: str, data: bytes) -> bool:
                made.before_put(key)
                return put(key, data)

            monkeypatch.setattr(installation.repository.store, "put", drilled_put, raising=True)
            return installation

        monkeypatch.setattr("flows.running.open_installation", opened)
        return made

    return prepare


@pytest.mark.parametrize("failures", [1, 2])
def test_a_busy_store_is_asked_again_once_per_failure(
    application: Application, drill: Callable[[ConvaultError, int], Drill], failures: int
) -> None:
    drilled = drill(StoreUnavailable("busy"), failures)
    done = backup()
    assert done.status is BackupStatus.COMPLETED
    assert drilled.drilled is not None
    assert drilled.puts.pop(drilled.drilled) == failures + 1
    assert set(drilled.puts.values()) == {1}


def test_a_store_that_stays_busy_is_given_up_on_after_the_retries_of_one_upload(
    application: Application, drill: Callable[[ConvaultError, int], Drill]
) -> None:
    drilled = drill(StoreUnavailable("busy"), 1000)
    with pytest.raises(StoreUnavailable, match="busy"):
        backup()
    assert drilled.drilled is not None
    assert drilled.puts.pop(drilled.drilled) == 1 + upload.retries
    assert set(drilled.puts.values()) <= {1}
    failed = application.installation().catalog.list()
    assert [(row.status, row.error) for row in failed] == [(BackupStatus.FAILED, "busy")]


def test_an_error_that_stays_is_not_tried_again(
    application: Application, drill: Callable[[ConvaultError, int], Drill]
) -> None:
    drilled = drill(StoreError("no space left"), 1000)
    with pytest.raises(StoreError, match="no space left"):
        backup()
    assert drilled.drilled is not None
    assert drilled.puts[drilled.drilled] == 1


def test_a_backup_gets_over_every_lost_answer_of_its_store(
    application: Application, monkeypatch: pytest.MonkeyPatch, empty: str
) -> None:
    """Each part, file, flush and the manifest is stored, and answered with an error once."""
    for task in (upload, record):
        monkeypatch.setattr(task, "retry_delay_seconds", 0)

    def opened(settings: Settings) -> Installation:
        installation = open_installation(settings)
        store = FaultyStore(installation.repository.store, loses_answers())
        return replace(installation, repository=Repository.open(store))

    monkeypatch.setattr("flows.running.open_installation", opened)
    done = backup()
    assert done.status is BackupStatus.COMPLETED
    assert set(differences(application, done.id, empty).values()) == {0}


def test_what_carries_other_tasks_has_no_retries() -> None:
    """Or retries would multiply."""
    assert carry.retries == 0
    assert backup.retries == 0


@pytest.mark.parametrize(
    "task",
    [begin, carry, chunk, compress, count, fetch, reconcile, record, serialize, upload],
    ids=lambda task: task.name,
)
def test_every_task_keeps_nothing_and_retries_what_can_help(task: object) -> None:
    assert task.persist_result is False  # type: ignore[attr-defined]
    assert task.cache_policy.__class__.__name__ == "_None"  # type: ignore[attr-defined]
    assert task.log_prints is False  # type: ignore[attr-defined]
    assert task.retry_condition_fn is only_transient  # type: ignore[attr-defined]
    assert task.retries is not None  # type: ignore[attr-defined]
