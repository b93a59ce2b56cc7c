"""What else a catalog remembers: recipients, objects, turns, schedules; and who may set it up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from convault import schedule
from convault.catalog.base import AuditEntry, BackupStatus, CopyRecord, Held
from convault.catalog.postgres import PostgresCatalog
from convault.errors import BusyError, CatalogError, EncryptionError, NotFoundError
from tests.catalog.conftest import Kept
from tests.patience import PATIENCE

KEYS = ["age1" + letter * 58 for letter in "qpzr"]
MANY = 2345
"""more than the Data API gives at a time, and than is written down at a time"""


def test_the_last_recipient_is_retired_only_when_asked(kept: Kept) -> None:
    first = kept.catalog.add_recipient(KEYS[0], "office")
    with pytest.raises(EncryptionError, match="only active recipient"):
        kept.catalog.retire_recipient(KEYS[0])
    kept.catalog.add_recipient(KEYS[1])
    retired = kept.catalog.retire_recipient(KEYS[0])
    assert retired.retired_at is not None
    assert kept.catalog.retire_recipient(KEYS[0]) == retired
    assert not kept.catalog.retire_recipient(KEYS[1], last=True).active
    assert kept.catalog.add_recipient(KEYS[0], "") == first
    with pytest.raises(NotFoundError, match="keys show"):
        kept.catalog.retire_recipient(KEYS[2])
    new = kept.catalog.remember_recipients([KEYS[2], KEYS[0], KEYS[3], KEYS[2]], "found")
    assert list(new) == [KEYS[2], KEYS[3]]
    everybody = kept.catalog.recipients()
    assert [(r.public_key, r.label, r.active) for r in everybody[:2]] == [
        (KEYS[0], "office", True),
        (KEYS[1], "", False),
    ]
    assert {(r.public_key, r.label, r.active) for r in everybody[2:]} == {
        (KEYS[2], "found", False),
        (KEYS[3], "found", False),
    }


def test_of_two_that_retire_the_last_two_one_is_refused(kept: Kept) -> None:
    for key in KEYS[:2]:
        kept.catalog.add_recipient(key)
    start = threading.Barrier(2)

    def retire(key: str) -> bool:
        start.wait()
        try:
            kept.catalog.retire_recipient(key)
        except EncryptionError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(retire, KEYS[:2])) == [False, True]
    assert sum(recipient.active for recipient in kept.catalog.recipients()) == 1


def test_objects_are_remembered_however_many(kept: Kept, repository_id: UUID) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    keys = [f"data/public.messages/{n:064x}.ndjson.zst" for n in range(MANY)]
    kept.catalog.record_read(repository_id, {key: key != keys[7] for key in keys})
    kept.catalog.record_read(uuid4(), {"another/repository": True})
    read = kept.catalog.objects_read(repository_id)
    assert set(read) == set(keys) - {keys[7]}
    assert min(read.values()) > before
    kept.catalog.record_read(repository_id, {keys[7]: True, keys[8]: False}, gone=keys[9:])
    assert set(kept.catalog.objects_read(repository_id)) == set(keys[:8])
    kept.catalog.record_read(repository_id, {})


def test_rows_are_listed_however_many(kept: Kept) -> None:
    with psycopg.connect(kept.database_url) as connection:
        connection.execute(
            "INSERT INTO public.backups (status, created_at) SELECT 'failed',"
            " '2026-01-01Z'::timestamptz + n / 3 * '1 hour'::interval"
            f" FROM generate_series(1, {MANY}) n"
        )
        expected = connection.execute(
            "SELECT id FROM public.backups ORDER BY created_at DESC, id"
        ).fetchall()
    assert [row.id for row in kept.catalog.list()] == [row[0] for row in expected]
    assert [row.id for row in kept.catalog.list(status=BackupStatus.FAILED, limit=1500)] == [
        row[0] for row in expected[:1500]
    ]


def test_turns_pass_on(kept: Kept, repository_id: UUID) -> None:
    assert kept.catalog.turn(repository_id, "", 3) == 0
    for turn in (2, 1):
        kept.catalog.set_turn(repository_id, "", 3, turn)
        assert kept.catalog.turn(repository_id, "", 3) == turn
    assert kept.catalog.turn(repository_id, "", 4) == 0
    assert kept.catalog.turn(repository_id, str(uuid4()), 3) == 0


def test_schedules_stay_until_they_are_deleted(kept: Kept) -> None:
    made = [
        schedule.BackupSchedule(
            id=schedule.id_of(name), name=name, schedule="daily", options={"format": "csv"},
            next_run_at=datetime(2026, 1, 2, 3, tzinfo=UTC),
        )
        for name in ("weekly-all", "daily-all")
    ]  # fmt: skip
    for one in made:
        kept.catalog.save_schedule(one)
    kept.catalog.save_schedule(made[0].model_copy(update={"is_active": False}))
    daily, weekly = kept.catalog.schedules()
    times = {"created_at", "updated_at"}
    assert daily.model_dump(exclude=times) == made[1].model_dump(exclude=times)
    assert (weekly.id, weekly.is_active) == (made[0].id, False)
    assert weekly.created_at is not None
    assert weekly.updated_at is not None
    assert weekly.updated_at > weekly.created_at
    for _ in range(2):
        kept.catalog.delete_schedule(made[0].id)
    assert [one.id for one in kept.catalog.schedules()] == [made[1].id]


def test_what_a_copy_holds_is_remembered(kept: Kept, repository_id: UUID) -> None:
    now, backup = kept.catalog.now(), uuid4()
    near, far = (
        CopyRecord(
            id=uuid4(), repository_id=repository_id, name=name, url="file:///x", mirror=mirror
        )
        for name, mirror in (("near", True), ("far", False))
    )
    for one in (near, far):
        kept.catalog.save_copy(one)
    held = {backup: Held(state="held", revision=2), uuid4(): Held(state="passed over")}
    far = far.model_copy(
        update={"contents": held, "started_at": now, "succeeded_at": now, "error": "it's full"}
    )
    kept.catalog.save_copy(far)
    assert list(kept.catalog.copies(repository_id)) == [far, near]
    assert list(kept.catalog.copies(uuid4())) == []


def test_one_init_at_a_time_whichever_way_it_comes(kept: Kept) -> None:
    over_sql, inside = PostgresCatalog(kept.database_url), threading.Event()
    order, init = [], ("convault init", BusyError("not in 120 s"))

    def second() -> None:
        inside.wait()
        with over_sql.exclusive(*init, seconds=120):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second)
        with kept.catalog.exclusive(*init, seconds=120):
            inside.set()
            assert not waiting.done()
            order.append("first")
        waiting.result(PATIENCE)
    with kept.catalog.exclusive(*init, seconds=120):
        order.append("third")
    assert order == ["first", "second", "third"]


def test_is_complete_when_everything_is_applied(kept: Kept) -> None:
    assert kept.catalog.missing_migrations() == []
    assert kept.catalog.migrate() == []


def test_who_did_what_is_written_down(kept: Kept) -> None:
    backup_id = uuid4()
    for number, result in enumerate(("done", "not-found", "done")):
        kept.catalog.audit(
            AuditEntry(
                actor=f"user {number}", origin="cli", action="pin", backup_id=backup_id,
                result=result, detail="why \x00 not",
            )
        )  # fmt: skip
    newest, older = kept.catalog.audited(2)
    assert (newest.actor, newest.result, newest.backup_id) == ("user 2", "done", backup_id)
    assert (older.actor, older.detail) == ("user 1", "why  not")
    assert newest.at is not None
    assert older.at is not None
    assert older.at <= newest.at <= kept.catalog.now() <= kept.catalog.now()


def test_who_writes_objects_keeps_out_who_removes_some(kept: Kept, repository_id: UUID) -> None:
    """Whichever way the writer comes; objects are removed over SQL alone."""
    remover = PostgresCatalog(kept.database_url, patience=0.1)
    with kept.catalog.guard(repository_id) as first, kept.catalog.guard(repository_id) as second:
        first.check()
        second.check()
        with pytest.raises(BusyError):
            remover.guard(repository_id, alone=True)
    # Who was refused may have had the lock, and its session may still be letting it go.
    patient = PostgresCatalog(kept.database_url, patience=PATIENCE)
    with patient.guard(repository_id, alone=True) as alone:
        alone.check()
        writer = (
            PostgresCatalog(kept.database_url, guard_patience=0.1)
            if isinstance(kept.catalog, PostgresCatalog)
            else kept.catalog
        )
        with pytest.raises(BusyError):
            writer.guard(repository_id)
        with pytest.raises(BusyError):
            writer.begin(uuid4(), {})
    assert kept.catalog.installation_id() is not None


def test_over_the_data_api_nothing_is_removed(kept: Kept, repository_id: UUID) -> None:
    if isinstance(kept.catalog, PostgresCatalog):
        kept.catalog.guard(repository_id, alone=True).__exit__(None, None, None)
    else:
        with pytest.raises(CatalogError, match="catalog over SQL"):
            kept.catalog.guard(repository_id, alone=True)
