"""Connections that are lost: a worker's can be made again, the exporter's takes the snapshot along.

Every row that is read here holds a canary, and no error may show it.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pyarrow as pa
import pytest

from convault.dataset.scope import Scope
from convault.errors import LockNotAvailable, SnapshotLost, SourceError, SourceUnavailable
from convault.sources.base import Snapshot
from convault.sources.postgres import PostgresSource
from convault.sources.readers import Readers
from tests.patience import PATIENCE, awaited
from tests.sources.reading import (
    CONVERSATIONS,
    MESSAGES,
    TABLES,
    read,
    read_all,
    run,
    source,
    table,
    whole,
)

CANARY = "canary-93bc"
LARGE = TABLES + f"""
    TRUNCATE messages;
    ALTER TABLE messages ALTER body SET STORAGE EXTERNAL;
    INSERT INTO messages SELECT g, 1, repeat('{CANARY}', 100000) FROM generate_series(1, 40) g;
"""  # fmt: skip
"""40 MB: more than the buffers between the server and a reader hold."""


@pytest.fixture
def snapshot(database: str) -> Iterator[Snapshot]:
    run(database, LARGE)
    with source(database, lock_timeout=0.5).snapshot() as snapshot:
        yield snapshot


def processes(url: str) -> list[int]:
    """Our server processes, the exporter's first."""
    rows = run(url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'convault'"
                    " AND datname = current_database() ORDER BY backend_start")  # fmt: skip
    return [int(str(pid)) for (pid,) in rows]


def end(url: str, *pids: int, how: str = "terminate") -> None:
    """Kill server processes, and wait until they are gone."""
    for pid in pids:
        run(url, f"SELECT pg_{how}_backend({pid})")
    awaited(lambda: how != "terminate" or not set(pids) & set(processes(url)), pause=0.01)


def without_canary(error: BaseException) -> None:
    assert CANARY not in "".join(traceback.format_exception(error)) + repr(vars(error))


def begun(snapshot: Snapshot) -> tuple[Iterator[pa.RecordBatch], int]:
    """A read that has given its first batch, and the rows of it."""
    batches = snapshot.read(whole(snapshot, "messages"))
    return batches, next(batches).num_rows


def test_a_worker_that_is_lost_goes_on_where_it_was(database: str, snapshot: Snapshot) -> None:
    batches, rows = begun(snapshot)
    end(database, processes(database)[-1])
    seen = [rows]
    with pytest.raises(SourceUnavailable, match=r"lost while public\.messages") as caught:
        seen.extend(batch.num_rows for batch in batches)
    rows = sum(seen)
    without_canary(caught.value)
    assert caught.value.transient
    assert 0 < rows < 40
    snapshot.check_alive()
    rest = read(snapshot, whole(snapshot, "messages"), skip_rows=rows)
    assert [row[0] for row in rest] == list(range(rows + 1, 41))


def test_a_worker_that_is_lost_between_two_reads(database: str, snapshot: Snapshot) -> None:
    range_ = whole(snapshot, "messages")
    assert len(read(snapshot, range_)) == 40
    end(database, processes(database)[-1])
    with pytest.raises(SourceUnavailable):
        read(snapshot, range_)
    assert len(read(snapshot, range_)) == 40


def test_an_exporter_that_is_lost_takes_the_snapshot_along(
    database: str, snapshot: Snapshot
) -> None:
    """A connection that was opened before reads on, and is of the same moment; none can follow."""
    batches, rows = begun(snapshot)
    end(database, processes(database)[0])
    for attempt in (
        snapshot.check_alive,
        lambda: read(snapshot, whole(snapshot, "conversations")),
        lambda: snapshot.count(table(snapshot, "messages")),
        snapshot.check_alive,
    ):
        with pytest.raises(SnapshotLost, match="start again") as caught:
            attempt()
        assert not caught.value.transient
    assert rows + sum(batch.num_rows for batch in batches) == 40


def test_all_connections_lost_at_once_is_the_snapshots_end(
    database: str, snapshot: Snapshot
) -> None:
    batches, _ = begun(snapshot)
    end(database, *processes(database))
    with pytest.raises(SnapshotLost) as caught:
        list(batches)
    without_canary(caught.value)


def test_an_exporter_lost_while_the_snapshot_is_taken(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost yet: that is a connection like any other."""
    from convault.sources import postgres

    run(database, TABLES)
    original = postgres.fix

    def killed(connection: psycopg.Connection) -> object:
        facts = original(connection)
        end(database, connection.info.backend_pid)
        return facts

    monkeypatch.setattr(postgres, "fix", killed)
    with pytest.raises(SourceUnavailable) as caught, source(database).snapshot():
        pytest.fail("there was no snapshot to be had")
    assert caught.value.transient


def test_a_query_that_somebody_cancels_can_be_repeated(database: str, snapshot: Snapshot) -> None:
    batches, rows = begun(snapshot)
    end(database, processes(database)[-1], how="cancel")
    with pytest.raises(SourceUnavailable, match="cancel") as caught:
        list(batches)
    without_canary(caught.value)
    assert len(read(snapshot, whole(snapshot, "messages"), skip_rows=rows)) == 40 - rows


def test_a_value_that_cannot_be_computed_is_not_quoted(database: str) -> None:
    """Postgres itself would say: invalid input syntax for type integer, and the value."""
    run(database, TABLES + f"""
        ALTER TABLE messages ADD number int GENERATED ALWAYS AS (body::int) VIRTUAL;
        UPDATE messages SET body = id; UPDATE messages SET body = '{CANARY}' WHERE id = 499;
    """)  # fmt: skip
    with source(database).snapshot() as snapshot:
        with pytest.raises(SourceError) as caught:
            read(snapshot, whole(snapshot, "messages"))
        without_canary(caught.value)
        assert type(caught.value) is SourceError
        assert not caught.value.transient
        assert "public.messages" in str(caught.value)
        snapshot.check_alive()


@contextmanager
def waiting_for_messages(url: str) -> Iterator[None]:
    """Somebody who wants the table for themselves waits for our locks; let through at the end."""

    def alter() -> None:
        with closing(psycopg.connect(url, autocommit=True)) as other:
            other.execute("ALTER TABLE messages ADD late int")

    waiting = threading.Thread(target=alter)
    waiting.start()
    try:
        awaited(lambda: run(url, "SELECT 1 FROM pg_locks WHERE NOT granted"), pause=0.01)
        yield
    finally:
        end(url, *processes(url))
        waiting.join()


def test_somebody_who_waits_for_a_table_holds_up_nobody(database: str, snapshot: Snapshot) -> None:
    with waiting_for_messages(database):
        assert len(read(snapshot, whole(snapshot, "messages"))) == 40
        assert len(read(snapshot, whole(snapshot, "conversations"))) == 20
        assert snapshot.count(table(snapshot, "messages")) == 40


def test_somebody_who_waits_for_a_table_does_not_hang_a_further_reader(
    database: str, snapshot: Snapshot
) -> None:
    """ALTER TABLE waits for the exporter's lock, and a new reader would wait behind it for ever:
    no deadlock that Postgres could see."""
    batches, rows = begun(snapshot)
    with waiting_for_messages(database):
        with pytest.raises(LockNotAvailable) as caught:
            read(snapshot, whole(snapshot, "conversations"))
        assert caught.value.transient
        snapshot.check_alive()
        assert rows + sum(batch.num_rows for batch in batches) == 40


def test_as_many_readers_as_will_be_needed_are_there_from_the_start(database: str) -> None:
    run(database, LARGE)
    wanted = PostgresSource(
        database, scope=Scope(CONVERSATIONS, MESSAGES), lock_timeout=0.5, readers=3
    )
    with wanted.snapshot() as snapshot, waiting_for_messages(database):
        reading = [begun(snapshot) for _ in range(3)]
        for batches, rows in reading:
            assert rows + sum(batch.num_rows for batch in batches) == 40


def test_somebody_who_comes_between_the_locks_is_let_through(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter holds its lock, the readers none yet: the attempt is given up, and the next one
    finds the table as they made it."""
    run(database, TABLES)
    original = Readers.open
    waiting: list[threading.Thread] = []

    def alter() -> None:
        run(database, "ALTER TABLE messages ADD late int")

    def opened(readers: Readers, number: int) -> None:
        if not waiting:
            waiting.append(threading.Thread(target=alter))
            waiting[0].start()
            awaited(lambda: run(database, "SELECT 1 FROM pg_locks WHERE NOT granted"), pause=0.01)
            # Only this attempt is to end so; the next one waits until they are done.
            monkeypatch.setattr(readers, "_lock_timeout", 1)
        original(readers, number)

    monkeypatch.setattr(Readers, "open", opened)
    with source(database, lock_timeout=PATIENCE).snapshot() as snapshot:
        assert [c.name for c in table(snapshot, "messages").columns][-1] == "late"
        assert len(read_all(snapshot)["messages"]) == 500
        awaited(lambda: len(processes(database)) == 2)  # those of the first attempt are gone
    waiting[0].join()
