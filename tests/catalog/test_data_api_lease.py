"""Leases over the Data API: killed, late and cut-off holders, beside runs over SQL."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from convault.catalog.base import BackupStatus
from convault.catalog.postgres import PostgresCatalog
from convault.catalog.supabase import SupabaseCatalog
from convault.commit import commit
from convault.errors import BusyError, CatalogUnavailable, LeaseLost
from convault.project import Project
from convault.reconcile import ChangeKind, reconcile
from convault.repository import Repository
from convault.stores import open_store
from tests.catalog.conftest import OVER_HTTP, SHORT
from tests.catalog.lease_times import BRIEF, LASTING
from tests.handmade import new_backup
from tests.patience import PATIENCE, awaited
from tests.stores.between import Fault, Request, between
from tests.supabase_stack import SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")

Start = Callable[[UUID, float], subprocess.Popen[str]]


def sql(stack: SupabaseStack, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def ran_out(stack: SupabaseStack) -> None:
    """Wait until the end of every lease has passed, by the database's clock."""
    # The row tells it, too, and its time was set a moment later.
    over = (
        "SELECT bool_and(l.expires_at < clock_timestamp()) AND (SELECT"
        " bool_and(b.lease_expires_at < clock_timestamp()) FROM public.backups b)"
        " FROM public.backup_leases l"
    )
    awaited(lambda: sql(stack, over) == [(True,)], pause=0.05)


def run_out(stack: SupabaseStack) -> None:
    """Let the end of every lease pass. The leases first: who comes late with a renewal is refused
    from then on, and had written into the row before, if at all."""
    past = "clock_timestamp() - interval '1 second'"
    sql(stack, f"UPDATE public.backup_leases SET expires_at = {past}")
    sql(stack, f"UPDATE public.backups SET lease_expires_at = {past}")


@pytest.fixture
def repository(data_api: Project, tmp_path: Path) -> Repository:
    made = Repository.create(open_store((tmp_path / "store").as_uri(), create=True))
    SupabaseCatalog(data_api).register_repository(made.repository_id, uuid4(), made.store.url)
    return made


@pytest.fixture
def rest(data_api: Project, repository: Repository) -> SupabaseCatalog:
    return SupabaseCatalog(data_api, **OVER_HTTP)


@pytest.fixture
def sleepy(data_api: Project, repository: Repository) -> SupabaseCatalog:
    """Whose runs renew nothing: they sleep."""
    times = {"lease_seconds": BRIEF, "renew_seconds": 3600}
    return SupabaseCatalog(data_api, **{**OVER_HTTP, **times})


@pytest.fixture
def over_sql(catalog_supabase: SupabaseStack, repository: Repository) -> PostgresCatalog:
    """The same catalog, for somebody who has the database's URL."""
    # Who was refused had the lock, and its session may still be letting it go.
    return PostgresCatalog(catalog_supabase.database_url, **{**SHORT, "patience": PATIENCE})


@pytest.fixture
def holder(catalog_supabase: SupabaseStack) -> Iterator[Start]:
    """Start a process that holds the lease of a backup over the Data API, for so many seconds."""
    started: list[subprocess.Popen[str]] = []

    def start(backup_id: UUID, seconds: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.catalog.lease_holder", catalog_supabase.url,
             str(backup_id), str(seconds), catalog_supabase.secret_key],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
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


def test_of_a_killed_run_it_ends_by_the_databases_clock_and_is_taken_over(
    rest: SupabaseCatalog, catalog_supabase: SupabaseStack, repository: Repository, holder: Start
) -> None:
    backup_id = uuid4()
    process = holder(backup_id, LASTING)
    with pytest.raises(BusyError, match="Another run"):
        rest.begin(backup_id, {})
    process.send_signal(signal.SIGKILL)
    process.wait()
    run_out(catalog_supabase)
    assert rest.abandoned() == [backup_id]
    with rest.begin(backup_id, {}) as lease:
        lease.check()
        assert rest.abandoned() == []
        numbers = sql(catalog_supabase, "SELECT number FROM public.backup_leases")
        assert numbers == [(2,)]
    (change,) = reconcile(repository, rest)
    assert change.kind is ChangeKind.INTERRUPTED


def test_a_run_that_was_stopped_and_wakes_up_late_is_fenced(
    rest: SupabaseCatalog, catalog_supabase: SupabaseStack, holder: Start
) -> None:
    ours, others = uuid4(), uuid4()
    processes = [holder(backup_id, BRIEF) for backup_id in (ours, others)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    ran_out(catalog_supabase)
    with rest.begin(ours, {}) as taken_over:
        for process in processes:
            process.send_signal(signal.SIGCONT)
        # The second one's was taken over by nobody, but its time has passed: that is enough.
        for process in processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "lost\n"
        processes[0].stdin.close()  # type: ignore[union-attr]
        assert processes[0].wait() == 0
        taken_over.check()  # giving back what was lost disturbed nobody


def test_who_lost_it_commits_nothing(
    rest: SupabaseCatalog,
    sleepy: SupabaseCatalog,
    catalog_supabase: SupabaseStack,
    repository: Repository,
) -> None:
    manifest = new_backup(repository)
    with sleepy.begin(manifest.backup_id, manifest.options) as late:
        ran_out(catalog_supabase)
        with rest.begin(manifest.backup_id, manifest.options) as lease:
            with pytest.raises(LeaseLost, match="took the backup over"):
                commit(repository, rest, late, manifest, metrics={})
            assert list(repository.backup_ids()) == []
            assert rest.get(manifest.backup_id).status is BackupStatus.PROCESSING
            row = commit(repository, rest, lease, manifest, metrics={})
    assert row.status is BackupStatus.COMPLETED
    assert list(repository.backup_ids()) == [manifest.backup_id]


def test_runs_over_sql_and_over_the_data_api_see_each_other(
    rest: SupabaseCatalog,
    sleepy: SupabaseCatalog,
    over_sql: PostgresCatalog,
    catalog_supabase: SupabaseStack,
) -> None:
    backup_id = uuid4()
    for first, second in ((rest, over_sql), (over_sql, rest)):
        with first.begin(backup_id, {}) as lease:
            for _ in range(2):
                with pytest.raises(BusyError):
                    second.begin(backup_id, {})
            assert second.abandoned() == []
            lease.check()
    with sleepy.begin(backup_id, {}) as late:
        ran_out(catalog_supabase)
        with over_sql.begin(backup_id, {}) as lease:
            with pytest.raises(LeaseLost):
                late.check()
            lease.check()


def test_begin_may_be_repeated_when_its_answer_was_lost(
    data_api: Project, repository: Repository, catalog_supabase: SupabaseStack
) -> None:
    def lose_two(request: Request, number: int) -> Fault | None:
        return Fault.LOST if number < 2 else None

    with between(data_api.url, lose_two) as (_, endpoint):
        rest = SupabaseCatalog(Project(endpoint, data_api.headers), **SHORT)
        backup_id = uuid4()
        for _ in range(2):
            with pytest.raises(CatalogUnavailable, match="connection broke"):
                rest.begin(backup_id, {})
        with rest.begin(backup_id, {}) as lease:
            lease.check()
        assert sql(catalog_supabase, "SELECT count(*) FROM public.backups") == [(1,)]
        assert sql(catalog_supabase, "SELECT number FROM public.backup_leases") == [(1,)]


def test_is_lost_while_nothing_can_be_asked(data_api: Project, repository: Repository) -> None:
    cut: list[bool] = []
    with between(data_api.url, lambda *_: Fault.DROP if cut else None) as (_, endpoint):
        rest = SupabaseCatalog(Project(endpoint, data_api.headers), **SHORT)
        with rest.begin(uuid4(), {}) as lease:
            lease.check()
            cut.append(True)
            with pytest.raises(LeaseLost, match="could not be proven"):
                lease.check()
