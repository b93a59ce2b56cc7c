"""What one does alone, by a name: over SQL, over the Data API, and between the two."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from convault.catalog.base import Catalog, Guard
from convault.catalog.postgres import PostgresCatalog
from convault.errors import BusyError, CatalogError, LeaseLost
from tests.catalog.conftest import SHORT, Kept
from tests.catalog.lease_times import BRIEF
from tests.catalog.test_lease import end_sessions_with_locks, locks_are, sql
from tests.doctor.pooler import transaction_pooler
from tests.patience import PATIENCE, awaited
from tests.supabase_stack import SupabaseStack

NAME = "command-line backup of repository 5"


def taken(catalog: Catalog, name: str = NAME) -> Guard | None:
    """The right to do it alone, or None while somebody else has it."""
    try:
        return catalog.exclusive(name, BusyError("Somebody is at it."))
    except BusyError as refused:
        if "Somebody is at it." in str(refused):
            return None
        raise


def test_who_comes_second_is_refused_whichever_way_both_come(kept: Kept) -> None:
    over_sql = PostgresCatalog(kept.database_url, **SHORT)
    for first, second in ((kept.catalog, over_sql), (over_sql, kept.catalog)):
        alone = taken(first)
        assert alone is not None
        with alone:
            assert taken(second) is None
            assert taken(first) is None
            alone.check()
            # Who was refused over SQL had the lock for a moment, and a session ends when it may.
            locks_are(int(isinstance(first, PostgresCatalog)), kept.database_url)
        again = taken(second)  # at once
        assert again is not None
        with again:
            again.check()


def test_of_many_that_come_at_once_one_gets_it(kept: Kept) -> None:
    over_sql, start = PostgresCatalog(kept.database_url, **SHORT), threading.Barrier(6)

    def take(number: int) -> Guard | None:
        start.wait()
        return taken((kept.catalog, over_sql)[number % 2])

    with ThreadPoolExecutor(6) as pool, ExitStack() as ending:
        got = [guard for guard in pool.map(take, range(6)) if guard is not None]
        for guard in got:
            ending.enter_context(guard)
        assert len(got) == 1


def test_is_renewed_over_the_data_api_while_it_is_held(kept: Kept) -> None:
    """Over SQL there is no time that could run out, and no row."""
    ends = "SELECT expires_at FROM public.backup_leases WHERE holder IS NOT NULL"
    alone = taken(kept.catalog)
    assert alone is not None
    with alone:
        first = sql(kept.database_url, ends)
        assert (first == []) == isinstance(kept.catalog, PostgresCatalog)
        assert first == [] or awaited(lambda: sql(kept.database_url, ends) > first, pause=0.02)
    assert sql(kept.database_url, ends) == []


def test_other_names_and_backups_are_not_kept_out(kept: Kept, repository_id: UUID) -> None:
    alone, other = taken(kept.catalog), taken(kept.catalog, "command-line backup of repository 6")
    assert alone is not None
    assert other is not None
    with alone, other, kept.catalog.begin(uuid4(), {}) as lease:
        with kept.catalog.guard(repository_id) as guard:
            guard.check()
        lease.check()


@pytest.fixture
def holder(kept: Kept, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that has the name, on the same kind of catalog."""
    where = [kept.database_url, NAME, str(BRIEF)]
    if not isinstance(kept.catalog, PostgresCatalog):
        stack: SupabaseStack = request.getfixturevalue("catalog_supabase")
        where = [stack.url, NAME, str(BRIEF), stack.secret_key]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.catalog.lease_holder", *where],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        with process:
            pass


def test_who_was_killed_keeps_nobody_out_for_longer_than_a_lease(
    kept: Kept, holder: subprocess.Popen[str]
) -> None:
    over_sql = isinstance(kept.catalog, PostgresCatalog)
    # Over the Data API a slow machine may have lost so short a lease already.
    assert not over_sql or taken(kept.catalog) is None
    holder.kill()
    holder.wait()
    if over_sql:  # at once
        alone = kept.catalog.exclusive(NAME, BusyError("It has it still."), seconds=PATIENCE)
    else:
        over = "SELECT expires_at < clock_timestamp() FROM public.backup_leases"
        awaited(lambda: sql(kept.database_url, over) == [(True,)], pause=0.02)
        alone = kept.catalog.exclusive(NAME, BusyError("It has it still."), seconds=0)
    with alone:
        alone.check()


def test_who_loses_it_goes_on_and_is_in_nobodys_way(kept: Kept) -> None:
    first = taken(kept.catalog)
    assert first is not None
    with first:
        if isinstance(kept.catalog, PostgresCatalog):
            end_sessions_with_locks(kept.database_url)
        else:
            sql(kept.database_url, "UPDATE public.backup_leases SET expires_at = now()")
        second = taken(kept.catalog)
        assert second is not None
        with pytest.raises(LeaseLost, match=NAME):
            first.check()
    with second:
        second.check()
        assert taken(kept.catalog) is None


def test_behind_a_pooler_in_transaction_mode_nobody_believes_to_be_alone(
    catalog: PostgresCatalog, database: str
) -> None:
    with transaction_pooler(database) as url:
        pooled = PostgresCatalog(url, **SHORT)
        for _ in range(2):  # whoever ends leaves nothing behind in the pooler's session
            alone = taken(pooled)
            assert alone is not None
            with alone:
                assert taken(catalog) is None
                with pytest.raises(CatalogError, match="pooler in transaction mode"):
                    taken(pooled)  # on the same session of the server, which has it
                alone.check()
        after = taken(catalog)
        assert after is not None
        after.__exit__(None, None, None)
