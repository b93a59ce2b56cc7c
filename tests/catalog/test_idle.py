"""Sessions that are kept between calls: used again, bounded, and let go when something is wrong."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from convault.catalog import idle
from convault.catalog.idle import IdleConnections
from convault.catalog.postgres import PostgresCatalog
from convault.errors import CatalogError
from tests.patience import PATIENCE

SESSIONS = """
SELECT pid FROM pg_stat_activity
WHERE application_name = 'convault catalog' AND datname = current_database()
"""


def sessions(url: str) -> set[int]:
    with psycopg.connect(url) as connection:
        return {pid for (pid,) in connection.execute(SESSIONS).fetchall()}


def settled(url: str, number: int) -> set[int]:
    """As soon as the server has let go of the others."""
    deadline = time.monotonic() + PATIENCE
    while len(found := sessions(url)) != number:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_they_are_used_again_and_bounded(database: str) -> None:
    kept = IdleConnections(database, 2)
    together = Barrier(5)

    def use(_: int) -> None:
        with kept.connected() as connection:
            connection.execute("SELECT 1")
            together.wait(PATIENCE)

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(use, range(5)))
    before = settled(database, 2)
    with kept.connected() as connection:
        assert connection.info.backend_pid in before
    assert sessions(database) == before
    kept.close()
    settled(database, 0)


def test_they_end_with_whom_they_are_kept_for(database: str) -> None:
    def use() -> None:
        kept = IdleConnections(database, 2)
        with kept.connected() as connection:
            connection.execute("SELECT 1")
        # As in an application, whose parts name each other.
        cycle: dict[str, object] = {"kept": kept, "session": connection}
        cycle["itself"] = cycle

    use()
    gc.collect()
    settled(database, 0)


def test_one_in_which_something_went_wrong_is_not_kept(database: str) -> None:
    kept = IdleConnections(database, 2)
    with pytest.raises(CatalogError), kept.connected() as connection:
        connection.execute("SELECT nothing")
    with kept.connected() as connection, connection.transaction():
        connection.execute("SELECT 1")
    [one] = settled(database, 1)
    with pytest.raises(KeyError), kept.connected() as connection:
        raise KeyError("of the caller")
    with kept.connected() as connection:
        assert connection.info.backend_pid != one
    kept.close()


def test_old_ones_are_not_used(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = IdleConnections(database, 2)
    with kept.connected() as connection:
        before = connection.info.backend_pid
    monkeypatch.setattr(idle, "MAX_IDLE", -1.0)
    with kept.connected() as connection:
        assert connection.info.backend_pid != before
    kept.close()


def test_a_call_survives_the_end_of_all_that_were_kept(database: str) -> None:
    """As when the server restarts: the call is made again on a new one."""
    catalog = PostgresCatalog(database, kept=4)
    together = Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: (together.wait(PATIENCE), catalog.now()), range(4)))
    with psycopg.connect(database) as connection:
        for pid in sessions(database):
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert catalog.now() is not None
