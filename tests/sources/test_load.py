"""What a backup costs its source while it runs: connections, locks, and who waits behind them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from convault.dataset.scope import Scope
from convault.errors import SnapshotLost
from convault.sources.postgres import PostgresSource
from tests.patience import PATIENCE, awaited
from tests.sources.reading import CONVERSATIONS, MESSAGES, TABLES, read, run, source, whole
from tests.sources.test_lost_connections import LARGE, begun, processes

LOCKS = """
    SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE a.application_name = 'convault' AND a.datname = current_database()
      AND l.relation = 'messages'::regclass
"""
WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'messages'::regclass"


def test_everything_is_let_go_whatever_is_being_read(database: str) -> None:
    run(database, LARGE)
    with source(database, lock_timeout=0.5).snapshot() as snapshot:
        batches, _ = begun(snapshot)  # in the middle of a result that nobody takes
        assert run(database, LOCKS) != [(0,)]
        begin = time.monotonic()
        snapshot.let_go()
        awaited(lambda: run(database, LOCKS) == [(0,)], pause=0.01)
        assert time.monotonic() < begin + 10
        # A server process frees its locks before it is gone.
        awaited(lambda: processes(database) == [], pause=0.01)
        snapshot.let_go()  # twice is no harm
        with pytest.raises(SnapshotLost):
            list(batches)
        # Nothing is begun anew by whoever did not hear of it.
        with pytest.raises(SnapshotLost):
            read(snapshot, whole(snapshot, "conversations"))
        with pytest.raises(SnapshotLost):
            snapshot.check_alive()


def test_no_more_connections_than_are_allowed(database: str) -> None:
    run(database, TABLES)
    limited = PostgresSource(
        database, scope=Scope(CONVERSATIONS, MESSAGES), lock_timeout=5, readers=6, connections=3
    )
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while True:  # once at least: those that read are there until the snapshot is let go
            most = max(most, len(processes(database)))
            if done.is_set():
                return

    with limited.snapshot() as snapshot, ThreadPoolExecutor(9) as pool:
        watching = pool.submit(watch)
        range_ = whole(snapshot, "messages")
        found = list(pool.map(lambda _: len(read(snapshot, range_)), range(24)))
        done.set()
        watching.result()
    assert len(set(found)) == 1
    assert most == 3


@pytest.mark.parametrize("limited", ["ROLE reader", "DATABASE {name}"])
def test_half_of_the_connections_that_are_left_stay_free(database: str, limited: str) -> None:
    run(database, TABLES)
    name = conninfo_to_dict(database)["dbname"]
    role = f"reader_{name}"
    run(
        database, f"CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    )
    try:
        what = limited.format(name=name).replace("reader", role)
        run(database, f"ALTER {what} CONNECTION LIMIT 6")
        url = make_conninfo(database, user=role)
        many = PostgresSource(url, scope=Scope(CONVERSATIONS, MESSAGES), lock_timeout=5, readers=20)
        with many.snapshot() as snapshot, ThreadPoolExecutor(9) as pool:
            range_ = whole(snapshot, "messages")
            found = list(pool.map(lambda _: len(read(snapshot, range_)), range(24)))
            left = 6 - len(processes(database))
            others = [psycopg.connect(url) for _ in range(2)]
            for other in others:
                other.close()
        assert len(set(found)) == 1
        assert left >= 2
    finally:
        run(database, f"DROP OWNED BY {role}; DROP ROLE {role}")


@contextmanager
def migration(url: str, lock_timeout: str) -> Iterator[threading.Thread]:
    """ALTER TABLE in a session of its own, until it is done or gives up, which it does not before
    it was seen to wait."""
    seen = threading.Event()

    def alter() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"SET lock_timeout = '{lock_timeout}'".encode())
            while True:
                try:
                    connection.execute("ALTER TABLE messages ADD COLUMN later text")
                except psycopg.errors.LockNotAvailable:
                    if not seen.is_set():
                        continue
                return

    thread = threading.Thread(target=alter)
    thread.start()
    try:
        awaited(lambda: run(url, WAITING), pause=0.01)
    finally:
        seen.set()
    yield thread
    thread.join()


def waited(url: str) -> float:
    """Seconds that the application's SELECT takes."""
    begin = time.monotonic()
    run(url, "SELECT count(*) FROM messages")
    return time.monotonic() - begin


@pytest.mark.parametrize("lock_timeout", ["300ms", "0"], ids=["with a lock_timeout", "without"])
def test_a_migration_that_waits_keeps_the_application_waiting(
    database: str, lock_timeout: str
) -> None:
    """Our locks stop no reader and no writer. A migration behind them does, unless it gives up:
    docs/operations.md tells so, and this shows it."""
    run(database, TABLES)
    with source(database, lock_timeout=0.5).snapshot(), ThreadPoolExecutor(1) as pool:
        # Neither has to wait for a lock.
        run(database, "SET lock_timeout = 1; SELECT count(*) FROM messages")
        run(database, "SET lock_timeout = 1; UPDATE messages SET id = id")
        with migration(database, lock_timeout):
            asked = pool.submit(waited, database)
            if lock_timeout == "0":
                awaited(lambda: run(database, f"{WAITING} AND mode = 'AccessShareLock'"))
                time.sleep(1.0)
                assert not asked.done(), "it waits for as long as the migration does"
                for pid in processes(database):  # the backup ends
                    run(database, f"SELECT pg_terminate_backend({pid})")
                assert asked.result(PATIENCE) > 0.9
            else:
                assert asked.result(PATIENCE) < 10, "the migration gave up, and may try again"
    assert asked.done()
