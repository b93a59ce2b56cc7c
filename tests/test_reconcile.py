"""The manifests decide, the catalog follows, also while backups run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.archive.composed import Archive
from convault.catalog.base import BackupRecord, BackupStatus, Lease
from convault.catalog.postgres import PostgresCatalog
from convault.commit import commit
from convault.errors import RepositoryError, StoreError, StoreUnavailable
from convault.manifest import Manifest
from convault.reconcile import ChangeKind, decide, reconcile
from convault.repository import Repository
from convault.stores import open_store
from tests.faulty import FaultyStore, fails_always
from tests.handmade import new_backup

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OURS, THEIRS = UUID(int=1), UUID(int=2)
DONE, FAILED = BackupStatus.COMPLETED, BackupStatus.FAILED
PENDING, PROCESSING = BackupStatus.PENDING, BackupStatus.PROCESSING


def row(status: BackupStatus, **columns: Any) -> BackupRecord:
    given = {
        "id": uuid4(),
        "status": status,
        "options": {},
        "created_at": NOW,
        "updated_at": NOW,
        "repository_id": OURS,
    }
    return BackupRecord.model_validate(given | columns)


# The rule

RULE = [
    # status, of which repository, has a manifest, is abandoned: what becomes of it
    (DONE, OURS, True, False, None),
    (DONE, OURS, False, False, ChangeKind.LOST),
    (FAILED, OURS, True, False, ChangeKind.COMPLETED),
    (FAILED, OURS, False, False, None),
    (PROCESSING, OURS, True, False, ChangeKind.COMPLETED),
    (PROCESSING, OURS, True, True, ChangeKind.COMPLETED),
    (PROCESSING, OURS, False, True, ChangeKind.INTERRUPTED),
    (PROCESSING, OURS, False, False, None),
    (PENDING, OURS, True, False, ChangeKind.COMPLETED),
    (PENDING, OURS, False, False, None),
    # Of another repository: whatever this one holds says nothing of it.
    *((status, THEIRS, has, over, None) for status in BackupStatus for has in (True, False)
      for over in (True, False)),
    # Of none: an application's own, unless the manifest is here.
    (DONE, None, False, False, None),
    (DONE, None, True, False, None),
    (FAILED, None, False, False, None),
    (FAILED, None, True, False, ChangeKind.COMPLETED),
    (PROCESSING, None, False, True, None),
    (PROCESSING, None, True, True, ChangeKind.COMPLETED),
    (PENDING, None, False, False, None),
    (PENDING, None, True, False, ChangeKind.COMPLETED),
]  # fmt: skip


@pytest.mark.parametrize(("status", "repository", "has_manifest", "abandoned", "expected"), RULE)
def test_rule(
    status: BackupStatus,
    repository: UUID | None,
    has_manifest: bool,
    abandoned: bool,
    expected: ChangeKind | None,
) -> None:
    one = row(status, repository_id=repository)
    changes = decide(
        [one],
        {one.id} if has_manifest else set(),
        {one.id} if abandoned else set(),
        repository_id=OURS,
    )
    assert [change.kind for change in changes] == ([] if expected is None else [expected])
    for change in changes:
        assert change.row == one
        assert str(one.id) in str(change)


def test_a_manifest_without_a_row_gets_one() -> None:
    new = [UUID(int=n) for n in (12, 11)]
    changes = decide([row(DONE, id=UUID(int=10))], {UUID(int=10), *new}, set(), repository_id=OURS)
    assert [(c.kind, c.backup_id) for c in changes] == [
        (ChangeKind.ADDED, UUID(int=11)),
        (ChangeKind.ADDED, UUID(int=12)),
    ]


IDS = st.sets(st.integers(10, 20).map(lambda n: UUID(int=n)))
ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from(BackupStatus),
        id=st.integers(10, 20).map(lambda n: UUID(int=n)),
        repository_id=st.sampled_from([OURS, THEIRS, None]),
    ),
    unique_by=lambda record: record.id,
)
BECOMES = {
    ChangeKind.ADDED: DONE,
    ChangeKind.COMPLETED: DONE,
    ChangeKind.LOST: FAILED,
    ChangeKind.INTERRUPTED: FAILED,
}


@given(ROWS, IDS, IDS)
def test_nothing_is_left_to_do_when_it_is_done(
    rows: list[BackupRecord], manifests: set[UUID], abandoned: set[UUID]
) -> None:
    after = {record.id: record for record in rows}
    for change in decide(rows, manifests, abandoned, repository_id=OURS):
        columns = {"status": BECOMES[change.kind], "repository_id": OURS}
        before = after.get(change.backup_id, row(PENDING, id=change.backup_id))
        after[change.backup_id] = before.model_copy(update=columns)
    assert decide(after.values(), manifests, abandoned, repository_id=OURS) == []
    ours = {id_ for id_, record in after.items() if record.repository_id == OURS}
    assert {id_ for id_ in ours if after[id_].status is DONE} <= manifests
    assert manifests & ours <= {id_ for id_ in ours if after[id_].status is DONE}


# With a store and a catalog


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(open_store((tmp_path / "store").as_uri(), create=True))


@pytest.fixture
def catalog(database: str, repository: Repository) -> PostgresCatalog:
    made = PostgresCatalog(database, attempts=1)
    made.migrate()
    made.register_repository(repository.repository_id, uuid4(), repository.store.url)
    return made


def backed_up(repository: Repository, catalog: PostgresCatalog) -> Manifest:
    manifest = new_backup(repository, backup_id=uuid4())
    with catalog.begin(manifest.backup_id, manifest.options) as lease:
        commit(repository, catalog, lease, manifest, metrics={"a": 1})
    return manifest


def kinds(repository: Repository, catalog: PostgresCatalog) -> list[ChangeKind]:
    return [change.kind for change in reconcile(repository, catalog)]


def forget(database: str, condition: str = "true") -> None:
    with psycopg.connect(database) as connection:
        connection.execute(f"DELETE FROM public.backups WHERE {condition}".encode())


def test_what_agrees_is_left_as_it_is(repository: Repository, catalog: PostgresCatalog) -> None:
    assert reconcile(repository, catalog) == []
    backed_up(repository, catalog)
    before = catalog.list()
    assert reconcile(repository, catalog) == []
    assert catalog.list() == before


def test_an_empty_catalog_is_rebuilt_from_the_manifests(
    repository: Repository, catalog: PostgresCatalog, database: str
) -> None:
    manifests = [backed_up(repository, catalog) for _ in range(3)]
    known = {record.id: record for record in catalog.list()}
    forget(database)
    assert kinds(repository, catalog) == [ChangeKind.ADDED] * 3
    for manifest in manifests:
        record = catalog.get(manifest.backup_id)
        before = known[manifest.backup_id]
        same = ("status", "file_name", "file_size", "url", "options", "error", "rows",
                "stored_bytes", "repository_id", "parent_id", "expires_at")  # fmt: skip
        assert {n: getattr(record, n) for n in same} == {n: getattr(before, n) for n in same}
        assert record.file_size == Archive(repository, manifest.backup_id).size
        assert record.created_at == manifest.created_at
        key = repository.manifest_key(manifest.backup_id)
        assert record.completed_at == repository.store.head(key).modified
    assert kinds(repository, catalog) == []


def test_a_lost_backup_is_called_lost_until_its_manifest_is_back(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    kept, lost = backed_up(repository, catalog), backed_up(repository, catalog)
    key = repository.manifest_key(lost.backup_id)
    content = repository.store.get(key)
    repository.store.delete(key)
    (change,) = reconcile(repository, catalog)
    assert (change.kind, change.backup_id) == (ChangeKind.LOST, lost.backup_id)
    record = catalog.get(lost.backup_id)
    assert record.status is FAILED
    assert record.error is not None
    assert record.error.startswith("lost: ")
    assert catalog.get(kept.backup_id).status is DONE
    assert kinds(repository, catalog) == []
    repository.store.put(key, content)
    assert kinds(repository, catalog) == [ChangeKind.COMPLETED]
    assert catalog.get(lost.backup_id).status is DONE
    assert catalog.get(lost.backup_id).error is None


def test_a_run_that_is_gone_is_called_interrupted(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    backup_id, waiting = uuid4(), uuid4()
    catalog.add(row(PENDING, id=waiting))
    with catalog.begin(backup_id, {}):
        assert kinds(repository, catalog) == []
    assert kinds(repository, catalog) == [ChangeKind.INTERRUPTED]
    record = catalog.get(backup_id)
    assert record.status is FAILED
    assert record.error is not None
    assert record.error.startswith("interrupted: ")
    assert catalog.get(waiting).status is PENDING


def test_rows_of_others_are_left_alone(
    repository: Repository, catalog: PostgresCatalog, database: str
) -> None:
    for repository_id in (THEIRS, None):
        for status in BackupStatus:
            catalog.add(row(status, repository_id=repository_id))
    # The same backup, but the row says that it lies elsewhere.
    here = backed_up(repository, catalog)
    catalog.update(here.backup_id, repository_id=THEIRS)
    before = catalog.list()
    assert reconcile(repository, catalog) == []
    assert catalog.list() == before


def test_a_manifest_that_cannot_be_read_is_said_and_keeps_nothing_from_the_others(
    repository: Repository, catalog: PostgresCatalog, database: str
) -> None:
    good, bad = backed_up(repository, catalog), backed_up(repository, catalog)
    forget(database)
    key = repository.manifest_key(bad.backup_id)
    repository.store.delete(key)
    repository.store.put(key, b'{"convault": {"format": 99}}')
    added, unreadable = sorted(reconcile(repository, catalog), key=lambda change: change.kind)
    assert (added.kind, added.backup_id) == (ChangeKind.ADDED, good.backup_id)
    assert (unreadable.kind, unreadable.backup_id) == (ChangeKind.UNREADABLE, bad.backup_id)
    assert "format 99" in str(unreadable)
    assert [record.id for record in catalog.list()] == [good.backup_id]


@pytest.mark.parametrize("content", [b"", b"{", b'{"convault": {"format": 99}}', None])
def test_a_completed_backup_whose_manifest_is_damaged_is_said_when_asked_thoroughly(
    repository: Repository, catalog: PostgresCatalog, content: bytes | None
) -> None:
    good, bad = backed_up(repository, catalog), backed_up(repository, catalog)
    if content is None:  # of another backup
        content = repository.manifest_bytes(good.backup_id)
    repository.store.replace(repository.manifest_key(bad.backup_id), content)
    before = catalog.list()
    assert reconcile(repository, catalog) == []
    (change,) = reconcile(repository, catalog, thorough=True)
    assert (change.kind, change.backup_id) == (ChangeKind.UNREADABLE, bad.backup_id)
    assert f"Backup {bad.backup_id} cannot be read: " in str(change)
    assert catalog.list() == before
    catalog.update(bad.backup_id, repository_id=THEIRS)
    assert reconcile(repository, catalog, thorough=True) == []


def test_a_store_that_does_not_answer_has_lost_nothing(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    backed_up(repository, catalog)
    before = catalog.list()
    repository.store = FaultyStore(repository.store, fails_always())
    with pytest.raises(StoreUnavailable):
        reconcile(repository, catalog)
    assert catalog.list() == before


def test_a_disk_that_is_unmounted_meanwhile_has_lost_nothing(
    repository: Repository, catalog: PostgresCatalog, tmp_path: Path
) -> None:
    backed_up(repository, catalog)
    before = catalog.list()
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    (tmp_path / "store").mkdir(mode=0o700)  # the mount point, empty
    with pytest.raises(StoreError, match="unmounted"):
        reconcile(repository, catalog)
    assert catalog.list() == before


def test_a_store_that_is_no_repository_any_more_has_lost_nothing(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    backed_up(repository, catalog)
    before = catalog.list()
    for info in list(repository.store.list()):
        repository.store.delete(info.key)
    with pytest.raises(RepositoryError, match="not a repository"):
        reconcile(repository, catalog)
    assert catalog.list() == before


class Interrupted(Repository):
    """A repository during whose listing something else happens, before it and after it."""

    meanwhile: Callable[[], object]

    def revisions(self) -> dict[UUID, int]:
        self.meanwhile()
        found = super().revisions()
        self.meanwhile()
        return found


def meanwhile(repository: Repository, act: Callable[[], object]) -> Repository:
    made = Interrupted.open(repository.store)
    assert isinstance(made, Interrupted)
    made.meanwhile = act
    return made


def test_backups_that_commit_meanwhile_are_not_called_lost(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    busy = meanwhile(repository, lambda: backed_up(repository, catalog))
    for _ in range(3):
        assert kinds(busy, catalog) == []
    assert [record.status for record in catalog.list()] == [DONE] * 6
    assert kinds(repository, catalog) == []


def test_a_listing_that_came_up_short_has_lost_nothing(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    class Forgetful(Repository):
        def revisions(self) -> dict[UUID, int]:
            return {}

    backed_up(repository, catalog)
    before = catalog.list()
    assert reconcile(Forgetful.open(repository.store), catalog) == []
    assert catalog.list() == before


def test_rows_are_read_before_leases_and_leases_before_the_store(
    repository: Repository, database: str, catalog: PostgresCatalog
) -> None:
    # The second look at each manifest would hide the wrong order, but only until somebody drops it.
    read: list[str] = []

    class Noting(PostgresCatalog):
        def list(self, **columns: Any) -> Any:
            read.append("rows")
            return super().list(**columns)

        def abandoned(self) -> Any:
            read.append("leases")
            return super().abandoned()

    reconcile(meanwhile(repository, lambda: read.append("store")), Noting(database))
    assert read == ["rows", "leases", "store", "store"]


def test_a_run_that_begins_again_meanwhile_is_not_called_interrupted(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    manifest = new_backup(repository, backup_id=uuid4())
    with catalog.begin(manifest.backup_id, manifest.options):
        pass
    assert catalog.abandoned() == [manifest.backup_id]
    leases: list[Lease] = []

    def begin_again() -> None:
        if not leases:
            leases.append(catalog.begin(manifest.backup_id, manifest.options))

    assert kinds(meanwhile(repository, begin_again), catalog) == []
    with leases[0] as lease:
        lease.check()
        commit(repository, catalog, lease, manifest, metrics={})
    assert catalog.get(manifest.backup_id).status is DONE


def test_a_dead_runs_manifest_that_arrives_late_decides(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    manifest = new_backup(repository, backup_id=uuid4())
    with catalog.begin(manifest.backup_id, manifest.options):
        pass
    assert kinds(repository, catalog) == [ChangeKind.INTERRUPTED]
    repository.put_manifest(manifest)
    assert kinds(repository, catalog) == [ChangeKind.COMPLETED]


def test_many_at_once_agree(
    repository: Repository, catalog: PostgresCatalog, database: str
) -> None:
    manifests = [backed_up(repository, catalog) for _ in range(4)]
    forget(database)
    repository.store.delete(repository.manifest_key(manifests[0].backup_id))
    catalog.add(row(DONE, id=manifests[0].backup_id, repository_id=repository.repository_id))
    start = threading.Barrier(3)

    def run(_: int) -> list[ChangeKind]:
        start.wait()
        return kinds(repository, catalog)

    with ThreadPoolExecutor(3) as pool:
        done = [kind for some in pool.map(run, range(3)) for kind in some]
    assert done.count(ChangeKind.LOST) == 1
    assert done.count(ChangeKind.ADDED) >= 3
    assert sorted(record.status for record in catalog.list()) == [DONE] * 3 + [FAILED]
    assert kinds(repository, catalog) == []
