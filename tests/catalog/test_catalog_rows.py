"""Rows of `backups` and `backup_repositories`: what may be written, and what stays."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from convault.catalog import open_catalog
from convault.catalog.base import BackupRecord, BackupStatus, Catalog, Query
from convault.catalog.postgres import PostgresCatalog
from convault.errors import CatalogError, NotFoundError

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, 789, tzinfo=UTC)


def record(**columns: Any) -> BackupRecord:
    given = {
        "id": uuid4(),
        "status": BackupStatus.PENDING,
        "options": {},
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    }
    return BackupRecord.model_validate(given | columns)


def test_is_a_catalog(catalog: PostgresCatalog, database: str) -> None:
    assert isinstance(catalog, Catalog)
    assert open_catalog(database).list() == []


def test_a_row_comes_back_as_it_was_written(catalog: PostgresCatalog) -> None:
    full = record(
        status=BackupStatus.COMPLETED,
        file_name="backup_ção.tar",
        file_size=2**40,
        url="/api/communication/backups/x/download",
        expires_at=LONG_AGO + timedelta(days=1),
        options={"compressionLevel": 9, "nested": [1, None, "é"]},
        error="a 'quoted' error",
        repository_id=uuid4(),
        flow_run_id=uuid4(),
        parent_id=uuid4(),
        rows=2**40,
        stored_bytes=0,
        metrics={"seconds": 1.5},
        lease_expires_at=LONG_AGO,
        started_at=LONG_AGO,
        completed_at=LONG_AGO,
    )
    assert catalog.add(full, keep_times=True) == full
    assert catalog.get(full.id) == full
    assert catalog.list() == [full]


def test_times_of_a_new_row_are_the_databases(catalog: PostgresCatalog) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    added = catalog.add(record())
    assert added.created_at > before
    assert added.updated_at == added.created_at
    assert added.created_at.tzinfo is not None


def test_adding_an_id_again_changes_nothing(catalog: PostgresCatalog) -> None:
    first = catalog.add(record(options={"n": 1}))
    assert catalog.add(record(id=first.id, options={"n": 2})) == first
    assert catalog.list() == [first]


def test_adding_an_id_from_many_threads_makes_one_row(catalog: PostgresCatalog) -> None:
    backup_id, start = uuid4(), threading.Barrier(6)

    def add(number: int) -> BackupRecord:
        start.wait()
        return catalog.add(record(id=backup_id, options={"n": number}))

    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(add, range(6)))
    assert seen == [catalog.get(backup_id)] * 6


def test_lists_the_newest_first(catalog: PostgresCatalog) -> None:
    ids = [UUID(int=n) for n in range(6)]
    for n in (3, 0, 5, 1, 4, 2):
        status = BackupStatus.FAILED if n % 2 else BackupStatus.COMPLETED
        # Two and two of one moment: then the id decides, so that pages never mix.
        created = LONG_AGO + timedelta(seconds=n // 2)
        catalog.add(record(id=ids[n], status=status, created_at=created), keep_times=True)
    assert [row.id for row in catalog.list()] == [ids[n] for n in (4, 5, 2, 3, 0, 1)]
    assert [row.id for row in catalog.list(limit=2)] == [ids[4], ids[5]]
    assert [row.id for row in catalog.list(status=BackupStatus.FAILED)] == [
        ids[n] for n in (5, 3, 1)
    ]
    assert catalog.list(status=BackupStatus.FAILED, limit=0) == []


def test_an_id_that_is_not_there_is_not_found(catalog: PostgresCatalog) -> None:
    for call in (catalog.get, catalog.update):
        with pytest.raises(NotFoundError, match="convault list"):
            call(uuid4())


def test_update_sets_what_is_named_and_the_time_of_change(catalog: PostgresCatalog) -> None:
    added = catalog.add(record(options={"kept": True}))
    changed = catalog.update(added.id, metrics={"rows": 1}, error="why")
    assert changed.updated_at > added.updated_at
    assert (changed.metrics, changed.error) == ({"rows": 1}, "why")
    assert changed.options == {"kept": True}
    assert catalog.update(added.id, metrics=None, error=None).error is None


def test_update_takes_no_other_name(catalog: PostgresCatalog) -> None:
    added = catalog.add(record())
    for name in ("id", "created_at", "updated_at", "error = 1 --", "nonsense"):
        with pytest.raises(ValueError, match="not columns of backups"):
            catalog.update(added.id, **{name: None})


def test_an_error_of_any_text_can_be_kept(catalog: PostgresCatalog) -> None:
    added = catalog.add(record())
    for text in ("a\0b", "half \ud83d of a pair", "\0", "x" * 1_000_000):
        kept = catalog.update(added.id, error=text).error
        assert kept == text.replace("\0", "").replace("\ud83d", "?")


def test_update_leaves_what_is_over(catalog: PostgresCatalog) -> None:
    over = {BackupStatus.COMPLETED, BackupStatus.FAILED}
    for before, after in product(BackupStatus, BackupStatus):
        added = catalog.add(record(status=before))
        if before in over and after not in {before, BackupStatus.COMPLETED}:
            with pytest.raises(CatalogError, match=f"is {before} and stays so"):
                catalog.update(added.id, status=after, error="x")
            assert catalog.get(added.id) == added
        else:
            assert catalog.update(added.id, status=after).status is after


def test_replace_writes_only_what_nobody_changed_meanwhile(
    catalog: PostgresCatalog, database: str
) -> None:
    seen = catalog.add(record(status=BackupStatus.COMPLETED))
    changed = catalog.replace(seen, status=BackupStatus.FAILED, error="lost")
    assert changed is not None
    assert (changed.status, changed.error) == (BackupStatus.FAILED, "lost")
    assert catalog.replace(seen, error="again") is None
    assert catalog.get(seen.id) == changed
    with psycopg.connect(database) as connection:  # a renewal changes nothing but this
        connection.execute("UPDATE public.backups SET lease_expires_at = now()")
    assert catalog.replace(changed, error="again") is None
    assert catalog.replace(record(), error="no such row") is None


def test_one_repository_is_the_current_one(catalog: PostgresCatalog, repository_id: UUID) -> None:
    assert catalog.repository_id() == repository_id
    other, installation = uuid4(), uuid4()
    catalog.register_repository(other, installation, "file:///other")
    catalog.register_repository(other, installation, "file:///moved")
    assert catalog.repository_id() == other
    catalog.register_repository(repository_id, installation, "file:///somewhere")
    assert catalog.repository_id() == repository_id


def test_repositories_registered_at_once_leave_one_current(
    catalog: PostgresCatalog, database: str
) -> None:
    ids, start = [uuid4() for _ in range(4)], threading.Barrier(4)

    def register(repository_id: UUID) -> None:
        start.wait()
        catalog.register_repository(repository_id, uuid4(), "file:///x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(register, ids))
    assert catalog.repository_id() in ids
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT current FROM public.backup_repositories").fetchall()
    assert sorted(rows) == [(False,)] * 4 + [(True,)]


def test_a_row_that_an_application_wrote_wrongly_is_named(
    catalog: PostgresCatalog, database: str
) -> None:
    backup_id = uuid4()
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO public.backups (id, options) VALUES (%s, '[\"canary\"]')", [backup_id]
        )
    with pytest.raises(CatalogError, match=rf"{backup_id}.*options") as caught:
        catalog.list()
    assert "canary" not in str(caught.value)


def test_pages_go_from_the_newest_to_the_oldest(catalog: PostgresCatalog) -> None:
    same = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
    for number in range(5):
        at = same if number < 3 else same + timedelta(days=number)
        row = BackupRecord(
            id=uuid4(), status=BackupStatus.PENDING,
            options={"format": "csv" if number else "json"},
            created_at=at, updated_at=at, requested_by="ci" if number % 2 else None,
        )  # fmt: skip
        catalog.add(row, keep_times=True)
    everything = [row.id for row in catalog.list()]
    seen: list[UUID] = []
    after = None
    for more in (True, True, False):
        page = catalog.page(Query(after=after, limit=2))
        assert (page.total, page.more) == (5, more)
        seen += [row.id for row in page.records]
        after = (page.records[-1].created_at, page.records[-1].id)
    assert seen == everything
    assert catalog.page(Query(requested_by="ci", limit=1)).total == 2
    assert catalog.page(Query(format="csv", created_from=same, created_to=same)).total == 0
    assert catalog.page(Query(format="csv", created_to=same + timedelta(seconds=1))).total == 2
    assert catalog.page(Query(status=BackupStatus.COMPLETED)).records == ()
