"""The commit protocol: whatever breaks, at whichever step, the old state stands or the new one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from convault.archive.composed import Archive
from convault.catalog.base import BackupStatus
from convault.catalog.postgres import PostgresCatalog
from convault.commit import (
    Step,
    commit,
    record_failure,
)
from convault.errors import (
    CatalogError,
    CatalogUnavailable,
    IncompleteBackup,
    LeaseLost,
    ObjectConflict,
    ObjectMissing,
    StoreUnavailable,
)
from convault.manifest import Manifest
from convault.progress import Progress, listening
from convault.reconcile import ChangeKind, reconcile
from convault.repository import Repository
from convault.stores import open_store
from tests.catalog.test_lease import end_sessions_with_locks
from tests.faulty import Fault, FaultyStore, Plan
from tests.handmade import new_backup
from tests.patience import awaited

METRICS = {"seconds": {"fetch": 1.5}}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(open_store((tmp_path / "store").as_uri(), create=True))


@pytest.fixture
def catalog(database: str, repository: Repository) -> PostgresCatalog:
    made = PostgresCatalog(database, lease_seconds=0.2, renew_seconds=0.05, attempts=1)
    made.migrate()
    made.register_repository(repository.repository_id, uuid4(), repository.store.url)
    return made


@pytest.fixture
def manifest(repository: Repository) -> Manifest:
    """Of a backup that lies in the repository, all but committed."""
    return new_backup(repository, backup_id=uuid4())


@contextmanager
def before(step: Step, act: Callable[[], object]) -> Iterator[None]:
    """Do `act` when the commit is about to begin `step`."""

    def listen(event: Progress) -> None:
        if event.step == "commit" and event.subject == step:
            act()

    with listening(listen):
        yield


class BrokenError(Exception):
    """What no step expects."""


def broken() -> None:
    raise BrokenError


def is_old(repository: Repository, catalog: PostgresCatalog, backup_id: UUID) -> None:
    """There is no backup, the row says so, and a later run makes the row say why."""
    assert repository.backup_ids() == []
    assert catalog.get(backup_id).status is BackupStatus.PROCESSING
    (change,) = reconcile(repository, catalog)
    assert change.kind is ChangeKind.INTERRUPTED
    assert catalog.get(backup_id).status is BackupStatus.FAILED


def is_new(repository: Repository, catalog: PostgresCatalog, manifest: Manifest) -> None:
    """There is a backup, whole, and its row tells all of it."""
    assert repository.backup_ids() == [manifest.backup_id]
    archive = Archive(repository, manifest.backup_id)
    assert sum(len(piece) for piece in archive.stream()) == archive.size
    row = catalog.get(manifest.backup_id)
    assert row.status is BackupStatus.COMPLETED
    assert row.error is None
    assert row.file_name == f"backup_{manifest.backup_id}.tar"
    assert row.file_size == archive.size
    assert row.url == f"/api/communication/backups/{manifest.backup_id}/download"
    assert (row.rows, row.stored_bytes) == (manifest.rows, manifest.stored_bytes)
    assert row.repository_id == repository.repository_id
    assert row.completed_at is not None
    assert row.expires_at is None


def test_makes_the_backup_and_its_row(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    steps: list[Progress] = []
    with catalog.begin(manifest.backup_id, manifest.options) as lease, listening(steps.append):
        row = commit(repository, catalog, lease, manifest, metrics=METRICS)
    assert [event.subject for event in steps] == list(Step)
    assert row.metrics == METRICS
    is_new(repository, catalog, manifest)
    assert reconcile(repository, catalog) == []


@pytest.mark.parametrize("step", Step)
def test_an_error_before_any_step_leaves_the_old_state_or_the_new(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest, step: Step
) -> None:
    lease = catalog.begin(manifest.backup_id, manifest.options)
    with lease, before(step, broken), pytest.raises(BrokenError):
        commit(repository, catalog, lease, manifest, metrics=METRICS)
    if step is Step.RECORD:
        (change,) = reconcile(repository, catalog)
        assert change.kind is ChangeKind.COMPLETED
        is_new(repository, catalog, manifest)
    else:
        is_old(repository, catalog, manifest.backup_id)


def test_can_be_repeated_after_an_error_before_every_step(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    with catalog.begin(manifest.backup_id, manifest.options) as lease:
        for step in Step:
            with before(step, broken), pytest.raises(BrokenError):
                commit(repository, catalog, lease, manifest, metrics=METRICS)
        for _ in range(2):
            commit(repository, catalog, lease, manifest, metrics=METRICS)
    is_new(repository, catalog, manifest)


KILLED = """
import os, signal, sys
from pathlib import Path
from uuid import UUID
sys.path.insert(0, ".")
from tests.handmade import new_backup
from convault.catalog.postgres import PostgresCatalog
from convault.commit import commit
from convault.progress import listening
from convault.repository import Repository
from convault.stores import open_store

catalog_url, store_url, backup_id, step = sys.argv[1:]
repository = Repository.open(open_store(store_url))
catalog = PostgresCatalog(catalog_url, lease_seconds=0.2, renew_seconds=0.05)
manifest = new_backup(repository, backup_id=UUID(backup_id))

def kill(event):
    if event.subject == step:
        os.kill(os.getpid(), signal.SIGKILL)

with catalog.begin(manifest.backup_id, manifest.options) as lease, listening(kill):
    commit(repository, catalog, lease, manifest, metrics={})
"""


@pytest.mark.parametrize("step", Step)
def test_a_kill_before_any_step_leaves_the_old_state_or_the_new(
    repository: Repository, catalog: PostgresCatalog, database: str, step: Step
) -> None:
    backup_id = uuid4()
    arguments = [database, repository.store.url, str(backup_id), step]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], cwd=Path(__file__).parents[1], check=False
    )
    assert done.returncode == -signal.SIGKILL
    over(catalog, database)
    if step is Step.RECORD:
        assert [change.kind for change in reconcile(repository, catalog)] == [ChangeKind.COMPLETED]
        is_new(repository, catalog, repository.manifest(backup_id))
    else:
        is_old(repository, catalog, backup_id)
    again = new_backup(repository, backup_id=uuid4())
    with catalog.begin(again.backup_id, again.options) as lease:
        row = commit(repository, catalog, lease, again, metrics={})
    assert row.status is BackupStatus.COMPLETED


def over(catalog: PostgresCatalog, database: str) -> None:
    """Let the lease of the process that was killed be over, and its lock free."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE public.backups SET lease_expires_at = now() - interval '1 s'")
    awaited(catalog.abandoned, pause=0.02)


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.ANSWER_LOST])
@pytest.mark.parametrize("operation", ["head", "flush", "put"])
def test_a_store_that_fails_once_leaves_the_old_state_or_the_new(
    repository: Repository,
    catalog: PostgresCatalog,
    manifest: Manifest,
    operation: str,
    fault: Fault,
) -> None:
    if (operation, fault) == ("head", Fault.ANSWER_LOST):
        return  # it changes nothing: an answer that is lost is a call that failed
    plan = Plan(fault, operations={operation}, calls=lambda call: call == 0)
    good = repository.store
    repository.store = FaultyStore(good, plan)
    with catalog.begin(manifest.backup_id, manifest.options) as lease:
        with pytest.raises(StoreUnavailable):
            commit(repository, catalog, lease, manifest, metrics=METRICS)
        written = (operation, fault) == ("put", Fault.ANSWER_LOST)
        assert repository.backup_ids() == ([manifest.backup_id] if written else [])
        assert catalog.get(manifest.backup_id).status is BackupStatus.PROCESSING
        commit(repository, catalog, lease, manifest, metrics=METRICS)
    repository.store = good
    is_new(repository, catalog, manifest)


def test_flushes_before_the_manifest_and_after_it(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    calls: list[str] = []

    class Watched(FaultyStore):
        def put(self, key: str, data: bytes) -> bool:
            calls.append(key)
            return super().put(key, data)

        def flush(self) -> None:
            super().flush()
            calls.append("flush")

    repository.store = Watched(
        repository.store, Plan(Fault.FAIL, operations=set(), calls=lambda _: False)
    )
    with catalog.begin(manifest.backup_id, manifest.options) as lease:
        commit(repository, catalog, lease, manifest, metrics=METRICS)
    place = calls.index(repository.manifest_key(manifest.backup_id))
    assert "flush" in calls[:place]
    assert "flush" in calls[place:]


def test_a_manifest_that_no_reader_would_take_is_not_committed(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    table = manifest.tables[0].model_copy(update={"primary_key": ("gone",)})
    wrong = manifest.model_copy(update={"tables": (table, *manifest.tables[1:])})
    with (
        catalog.begin(manifest.backup_id, manifest.options) as lease,
        pytest.raises(IncompleteBackup, match="primary key"),
    ):
        commit(repository, catalog, lease, wrong, metrics=METRICS)
    is_old(repository, catalog, manifest.backup_id)


def test_an_object_that_is_gone_is_noticed(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    for key in manifest.objects():
        kept = repository.store.get(key)
        repository.store.delete(key)
        with (
            catalog.begin(manifest.backup_id, manifest.options) as lease,
            pytest.raises(ObjectMissing, match="Nothing was committed") as caught,
        ):
            commit(repository, catalog, lease, manifest, metrics=METRICS)
        assert caught.value.ids["key"] == key
        repository.store.put(key, kept)
    is_old(repository, catalog, manifest.backup_id)


def test_an_object_of_another_size_is_noticed(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    key = manifest.tables[0].parts[0].key
    cut = repository.store.get(key)[:-1]
    repository.store.delete(key)
    repository.store.put(key, cut)
    with (
        catalog.begin(manifest.backup_id, manifest.options) as lease,
        pytest.raises(ObjectConflict, match=f"has {len(cut)} bytes, {len(cut) + 1} were stored"),
    ):
        commit(repository, catalog, lease, manifest, metrics=METRICS)
    is_old(repository, catalog, manifest.backup_id)


def test_without_its_lease_a_run_commits_nothing(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest, database: str
) -> None:
    lease = catalog.begin(manifest.backup_id, manifest.options)
    ending = before(Step.FLUSH, lambda: end_sessions_with_locks(database))
    with lease, ending, pytest.raises(LeaseLost):
        commit(repository, catalog, lease, manifest, metrics=METRICS)
    over(catalog, database)
    is_old(repository, catalog, manifest.backup_id)


@contextmanager
def no_more_updates(database: str) -> Iterator[None]:
    """The catalog takes no changes to its rows for the block."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE public.backups RENAME COLUMN metrics TO away")
        yield
        connection.execute("ALTER TABLE public.backups RENAME COLUMN away TO metrics")


def test_a_row_that_cannot_be_written_does_not_undo_the_backup(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest, database: str
) -> None:
    with catalog.begin(manifest.backup_id, manifest.options) as lease:
        with (
            no_more_updates(database),
            pytest.raises(CatalogUnavailable, match="complete and kept") as caught,
        ):
            commit(repository, catalog, lease, manifest, metrics=METRICS)
        assert caught.value.transient
        assert catalog.get(manifest.backup_id).status is BackupStatus.PROCESSING
    # What the flow does on any error: it must not hide the backup.
    row = record_failure(repository, catalog, manifest.backup_id, "boom", metrics=METRICS)
    assert row.metrics == METRICS
    is_new(repository, catalog, manifest)


def test_a_row_that_is_gone_comes_back(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest, database: str
) -> None:
    def remove_the_row() -> None:
        with psycopg.connect(database) as connection:
            connection.execute("DELETE FROM public.backups")

    with (
        catalog.begin(manifest.backup_id, manifest.options) as lease,
        before(Step.RECORD, remove_the_row),
        pytest.raises(CatalogUnavailable, match="complete and kept"),
    ):
        commit(repository, catalog, lease, manifest, metrics=METRICS)
    assert [change.kind for change in reconcile(repository, catalog)] == [ChangeKind.ADDED]
    is_new(repository, catalog, manifest)


def test_a_reconcile_between_the_manifest_and_the_row_does_no_harm(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest, database: str
) -> None:
    # A row whose lease is renewed while it is mended is left for the next time: not so often here.
    catalog = PostgresCatalog(database)

    def mend_and_break() -> None:
        changes = reconcile(repository, catalog)
        assert [change.kind for change in changes] == [ChangeKind.COMPLETED]
        raise BrokenError

    with catalog.begin(manifest.backup_id, manifest.options) as lease:
        with before(Step.RECORD, mend_and_break), pytest.raises(BrokenError):
            commit(repository, catalog, lease, manifest, metrics=METRICS)
        # The row is not `processing` any more, so the lease cannot be proven: nor need it be.
        row = commit(repository, catalog, lease, manifest, metrics=METRICS)
    assert row.metrics == METRICS
    is_new(repository, catalog, manifest)


def test_another_manifest_of_the_same_backup_is_never_overwritten(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    repository.put_manifest(manifest)
    # Of the same size, so that only its bytes tell.
    other = manifest.model_copy(
        update={"source": replace(manifest.source, snapshot=manifest.source.snapshot[::-1])}
    )
    assert len(other.to_bytes()) == len(manifest.to_bytes())
    with (
        catalog.begin(manifest.backup_id, manifest.options) as lease,
        pytest.raises(ObjectConflict, match="another manifest"),
    ):
        commit(repository, catalog, lease, other, metrics=METRICS)
    assert repository.manifest(manifest.backup_id) == manifest


def test_a_run_that_failed_says_why(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    with catalog.begin(manifest.backup_id, manifest.options):
        pass
    row = record_failure(repository, catalog, manifest.backup_id, "no space", metrics=METRICS)
    assert (row.status, row.error, row.metrics) == (BackupStatus.FAILED, "no space", METRICS)
    assert catalog.get(manifest.backup_id) == row


def test_a_run_that_failed_says_so_also_when_the_store_does_not_answer(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    good = repository.store
    with catalog.begin(manifest.backup_id, manifest.options) as lease:
        commit_without_row(repository, catalog, lease, manifest)
    repository.store = FaultyStore(
        good, Plan(Fault.FAIL, operations={"get", "head"}, calls=lambda _: True)
    )
    row = record_failure(repository, catalog, manifest.backup_id, "no answer")
    assert row.status is BackupStatus.FAILED
    repository.store = good
    assert [change.kind for change in reconcile(repository, catalog)] == [ChangeKind.COMPLETED]
    is_new(repository, catalog, manifest)


def commit_without_row(
    repository: Repository, catalog: PostgresCatalog, lease: Any, manifest: Manifest
) -> None:
    with before(Step.RECORD, broken), pytest.raises(BrokenError):
        commit(repository, catalog, lease, manifest, metrics={})


def test_record_failure_leaves_what_is_over(
    repository: Repository, catalog: PostgresCatalog, manifest: Manifest
) -> None:
    with catalog.begin(manifest.backup_id, manifest.options) as lease:
        commit(repository, catalog, lease, manifest, metrics=METRICS)
    key = repository.manifest_key(manifest.backup_id)
    repository.store.delete(key)  # then it is reconcile's to say that it is lost
    with pytest.raises(CatalogError, match="is completed and stays so"):
        record_failure(repository, catalog, manifest.backup_id, "late")
