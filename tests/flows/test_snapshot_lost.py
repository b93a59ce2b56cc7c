"""Connections are lost. The exporter's: the run plans again under a new snapshot, at most twice.
A reader's: it goes on in the same snapshot."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import psycopg
import pytest

from convault.catalog import BackupStatus
from convault.errors import SnapshotLost
from convault.installation import Installation, open_installation
from convault.settings import Settings
from flows.backup import backup
from flows.running import MAX_REPLANS
from tasks.fetch import fetch
from tests.flows.application import Application, differences

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]


_ALONE = Lock()


def cut_off(url: str) -> None:
    """End every session on the database: exporter and readers (the catalog lies in another)."""
    with _ALONE, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 300000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def cut_off_readers(url: str) -> None:
    """End the sessions but the first, which holds the snapshot."""
    with psycopg.connect(url, autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 300000) FROM ("
            " SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() ORDER BY backend_start OFFSET 1) readers"
        ).fetchall()
        assert ended == [(True,)]


@pytest.fixture
def on_upload(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], None]:
    """Call something before each upload of a part, with its number."""

    def prepare(action: Callable[[int], None]) -> None:
        uploads = 0

        def opened(settings: Settings) -> Installation:
            installation = open_installation(settings)
            put = installation.repository.store.put

            def watched_put(key: str, data: bytes) -> bool:
                nonlocal uploads
                if key.startswith("data/"):
                    uploads += 1
                    action(uploads)
                return put(key, data)

            monkeypatch.setattr(installation.repository.store, "put", watched_put)
            return installation

        monkeypatch.setattr("flows.running.open_installation", opened)

    return prepare


def test_a_lost_snapshot_is_planned_again_and_nothing_of_it_is_used(
    application: Application,
    on_upload: Callable[[Callable[[int], None]], None],
    empty: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One worker, so that the uploads have an order.
    monkeypatch.setenv("CONVAULT_WORKERS", "1")
    # What the first snapshot shows is gone in the second: parts of the first would bring it back.
    change = "UPDATE messages SET body = 'changed'; DELETE FROM messages WHERE id % 5 = 0"

    def lose_once(number: int) -> None:
        if number == 4:
            application.execute(change)
            cut_off(application.url)

    on_upload(lose_once)
    record = backup()
    assert record.status is BackupStatus.COMPLETED
    assert record.rows == 2 + 50 + 1600
    assert record.metrics is not None
    assert record.metrics["replans"] == 1
    assert record.metrics["rows"] == record.rows
    # The channels and conversations, which did not change, were found again by their digest.
    assert record.metrics["new_bytes"] > 0
    assert set(differences(application, record.id, empty).values()) == {0}


def test_a_type_that_is_changed_while_rows_are_read_is_planned_again(
    application: Application,
    on_upload: Callable[[Callable[[int], None]], None],
    empty: str,
) -> None:
    application.execute(
        "CREATE TYPE mood AS ENUM ('calm', 'angry'); ALTER TABLE messages ADD mood mood;"
        "UPDATE messages SET mood = 'angry'"
    )
    on_upload(
        lambda number: application.execute(
            "ALTER TYPE mood RENAME VALUE 'angry' TO 'cross'" if number == 4 else "SELECT 1"
        )
    )
    record = backup()
    assert record.metrics is not None
    assert record.metrics["replans"] == 1
    assert set(differences(application, record.id, empty).values()) == {0}


def test_a_snapshot_that_is_lost_every_time_fails_the_run(
    application: Application, on_upload: Callable[[Callable[[int], None]], None]
) -> None:
    on_upload(lambda number: cut_off(application.url))
    with pytest.raises(SnapshotLost):
        backup()
    installation = application.installation()
    (row,) = installation.catalog.list()
    assert row.status is BackupStatus.FAILED
    assert "snapshot" in (row.error or "")
    assert row.metrics is not None
    assert row.metrics["replans"] == MAX_REPLANS == 2
    assert installation.repository.backup_ids() == []


def test_a_reader_that_is_lost_goes_on_in_the_same_snapshot(
    application: Application,
    on_upload: Callable[[Callable[[int], None]], None],
    empty: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONVAULT_WORKERS", "1")
    monkeypatch.setattr(fetch, "retry_delay_seconds", 0)
    on_upload(lambda number: cut_off_readers(application.url) if number == 1 else None)
    record = backup()
    assert record.status is BackupStatus.COMPLETED
    assert record.metrics is not None
    assert record.metrics["replans"] == 0
    assert set(differences(application, record.id, empty).values()) == {0}
