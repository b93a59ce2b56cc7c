"""A lease: one holder, proven when it matters, gone with the process that held it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from convault.catalog import postgres
from convault.catalog.base import BackupRecord, BackupStatus, Catalog, Lease
from convault.catalog.postgres import PostgresCatalog
from convault.errors import BusyError, CatalogError, LeaseLost
from tests.catalog.conftest import Kept
from tests.catalog.lease_times import BRIEF
from tests.patience import PATIENCE, awaited

FROM_LOCKS = (
    "FROM pg_locks WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def sql(url: str, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def end_sessions_with_locks(url: str) -> None:
    """What a failover or an administrator does to the session that holds a lease."""
    # It holds two locks: its backup's, and a share of the repository's.
    sessions = f"SELECT DISTINCT pid {FROM_LOCKS}"
    ended = f"SELECT pg_terminate_backend(pid, 300000) FROM ({sessions}) s"
    assert sql(url, ended) == [(True,)]


def locks_are(number: int, url: str) -> None:
    """Wait until no more locks are held: who was refused or killed lets go when its session ends,
    which may be later."""
    awaited(lambda: sql(url, f"SELECT count(*) {FROM_LOCKS}") == [(number,)], pause=0.02)


def row_of(catalog: Catalog, status: BackupStatus) -> BackupRecord:
    now = datetime.now(UTC)
    return catalog.add(
        BackupRecord(id=uuid4(), status=status, options={}, created_at=now, updated_at=now)
    )


def test_begin_makes_the_row(kept: Kept, repository_id: UUID) -> None:
    backup_id, run_id = uuid4(), uuid4()
    with kept.catalog.begin(backup_id, {"compressionLevel": 1}, run_id) as lease:
        lease.check()
        row = kept.catalog.get(backup_id)
        assert row.status is BackupStatus.PROCESSING
        assert row.options == {"compressionLevel": 1}
        assert (row.flow_run_id, row.repository_id) == (run_id, repository_id)
        assert row.started_at is not None
        assert row.lease_expires_at is not None
    assert kept.catalog.get(backup_id).lease_expires_at is None


def test_begin_takes_a_pending_row(kept: Kept) -> None:
    row = row_of(kept.catalog, BackupStatus.PENDING)
    run_id = uuid4()
    kept.catalog.update(row.id, flow_run_id=run_id)
    with kept.catalog.begin(row.id, {"a": 1}):
        taken = kept.catalog.get(row.id)
    assert taken.status is BackupStatus.PROCESSING
    assert taken.created_at == row.created_at
    assert taken.flow_run_id == run_id


@pytest.mark.parametrize("status", [BackupStatus.COMPLETED, BackupStatus.FAILED])
def test_begin_leaves_what_is_over(kept: Kept, status: BackupStatus) -> None:
    row = row_of(kept.catalog, status)
    for _ in range(2):  # and does not keep the lock
        with pytest.raises(CatalogError, match=f"already {status}"):
            kept.catalog.begin(row.id, {})
        locks_are(0, kept.database_url)
    assert kept.catalog.get(row.id) == row


def test_begin_wants_a_repository(database: str) -> None:
    catalog = PostgresCatalog(database)
    catalog.migrate()
    with pytest.raises(CatalogError, match="convault init"):
        catalog.begin(uuid4(), {})
    assert catalog.list() == []


def test_a_second_run_is_refused_until_the_first_is_over(kept: Kept) -> None:
    backup_id = uuid4()
    with kept.catalog.begin(backup_id, {}) as lease:
        with pytest.raises(BusyError, match="Another run"):
            kept.catalog.begin(backup_id, {})
        with kept.catalog.begin(uuid4(), {}):  # another backup is another lease
            lease.check()
    with kept.catalog.begin(backup_id, {}) as lease:
        lease.check()


def test_of_many_that_begin_at_once_one_gets_it(kept: Kept) -> None:
    backup_id, start = uuid4(), threading.Barrier(6)

    def begin(_: int) -> Lease | None:
        start.wait()
        try:
            return kept.catalog.begin(backup_id, {})
        except BusyError:
            return None

    with ThreadPoolExecutor(6) as pool, ExitStack() as held:
        leases = [lease for lease in pool.map(begin, range(6)) if lease is not None]
        for lease in leases:
            held.enter_context(lease)
        assert len(leases) == 1
        leases[0].check()


def test_is_renewed_while_it_is_held(kept: Kept) -> None:
    backup_id = uuid4()
    with kept.catalog.begin(backup_id, {}) as lease:
        first = kept.catalog.get(backup_id).lease_expires_at
        assert first is not None

        def renewed() -> bool:
            now = kept.catalog.get(backup_id).lease_expires_at
            return now is not None and (now - first).total_seconds() > BRIEF  # many times

        awaited(renewed, pause=0.02)
        assert kept.catalog.abandoned() == []
        lease.check()


def test_cannot_be_checked_once_given_back(kept: Kept) -> None:
    with kept.catalog.begin(uuid4(), {}) as lease:
        pass
    with pytest.raises(LeaseLost, match="given back"):
        lease.check()
    lease.__exit__(None, None, None)


def test_both_locks_are_given_back_before_the_session_ends(
    catalog: PostgresCatalog, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may end it when it likes, and somebody may wait to remove objects."""
    with catalog.begin(uuid4(), {}) as lease:
        locks_are(2, database)
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.Connection, "close", lambda _: None)
            lease.__exit__(None, None, None)
    try:
        assert sql(database, f"SELECT true {FROM_LOCKS}") == []
    finally:
        lease._connection.close()  # type: ignore[attr-defined]


def test_is_lost_with_its_session(catalog: PostgresCatalog, database: str) -> None:
    backup_id = uuid4()
    with catalog.begin(backup_id, {}) as lease:
        end_sessions_with_locks(database)
        for _ in range(2):
            with pytest.raises(LeaseLost, match="could not be proven"):
                lease.check()


def test_whoever_lost_it_does_not_disturb_who_has_it(
    catalog: PostgresCatalog, database: str
) -> None:
    backup_id = uuid4()
    with catalog.begin(backup_id, {}) as lost:
        end_sessions_with_locks(database)
        with catalog.begin(backup_id, {}) as held:
            with pytest.raises(LeaseLost):
                lost.check()
            lost.__exit__(None, None, None)
            held.check()
            assert catalog.get(backup_id).lease_expires_at is not None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE public.backups SET status = 'failed'",
        "UPDATE public.backups SET status = 'completed'",
        "DELETE FROM public.backups",
    ],
)
def test_is_lost_when_the_row_is_somebody_elses(kept: Kept, statement: str) -> None:
    with kept.catalog.begin(uuid4(), {}) as lease:
        sql(kept.database_url, statement)
        with pytest.raises(LeaseLost, match="took the backup over"):
            lease.check()


def test_is_lost_when_the_session_lives_and_the_lock_is_gone(catalog: PostgresCatalog) -> None:
    with catalog.begin(uuid4(), {}) as lease:
        # What a pooler does that hands the session to somebody else.
        lease._connection.execute("SELECT pg_advisory_unlock_all()")  # type: ignore[attr-defined]
        with pytest.raises(LeaseLost):
            lease.check()


def test_a_pooler_that_keeps_no_session_is_refused(
    catalog: PostgresCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in, for there is no pooler here: in transaction mode the lock is taken in a session
    # that the next statement does not see.
    monkeypatch.setattr(postgres, "try_lock", lambda *_: True)
    with pytest.raises(CatalogError, match="pooler in transaction mode"):
        catalog.begin(uuid4(), {})


@pytest.fixture
def holder(database: str) -> Iterator[Callable[[UUID], subprocess.Popen[str]]]:
    """Start a process that holds the lease of a backup."""
    started: list[subprocess.Popen[str]] = []

    def start(backup_id: UUID) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.catalog.lease_holder", database, str(backup_id),
             str(BRIEF)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        with process:
            pass


def test_a_killed_run_is_abandoned_when_its_time_is_over(
    catalog: PostgresCatalog, database: str, holder: Callable[[UUID], subprocess.Popen[str]]
) -> None:
    backup_id = uuid4()
    process = holder(backup_id)
    assert catalog.abandoned() == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Its lock is free now, and no renewal on its way, but its time not over: both must be.
    locks_are(0, database)
    sql(database, "UPDATE public.backups SET lease_expires_at = now() + interval '1 hour'")
    assert catalog.abandoned() == []
    sql(database, "UPDATE public.backups SET lease_expires_at = now() - interval '1 second'")
    assert catalog.abandoned() == [backup_id]
    with catalog.begin(backup_id, {}) as lease:  # the same backup may go on
        lease.check()
        assert catalog.abandoned() == []


def test_a_stopped_run_is_not_abandoned_and_goes_on(
    catalog: PostgresCatalog, database: str, holder: Callable[[UUID], subprocess.Popen[str]]
) -> None:
    backup_id = uuid4()
    process = holder(backup_id)
    process.send_signal(signal.SIGSTOP)  # a machine that sleeps, its connections kept

    over = "SELECT true FROM public.backups WHERE lease_expires_at < now()"
    awaited(lambda: len(sql(database, over)) == 1, pause=0.02)
    assert catalog.abandoned() == []
    with pytest.raises(BusyError):
        catalog.begin(backup_id, {})
    process.send_signal(signal.SIGCONT)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ok\n"
    assert catalog.abandoned() == []


def test_a_row_without_a_time_is_abandoned_when_nobody_holds_its_lock(
    kept: Kept,
) -> None:
    row = row_of(kept.catalog, BackupStatus.PROCESSING)
    row_of(kept.catalog, BackupStatus.PENDING)
    assert kept.catalog.abandoned() == [row.id]


def test_asking_for_the_abandoned_keeps_nobody_from_beginning(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = row_of(kept.catalog, BackupStatus.PROCESSING)
    stop = threading.Event()
    monkeypatch.setattr(kept.catalog, "_patience", PATIENCE)  # who asks has the lock for moments

    def ask() -> None:
        while not stop.is_set():
            kept.catalog.abandoned()

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            for _ in range(5):
                with kept.catalog.begin(row.id, {}) as lease:
                    lease.check()
        finally:
            stop.set()
        for future in asking:
            future.result()
