"""Trouble with the Data API: one clear error each, retried where that can help, done once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
import pytest

from convault.catalog import DATA_API, migrations, open_catalog
from convault.catalog.base import BackupRecord, BackupStatus
from convault.catalog.postgres import PostgresCatalog
from convault.catalog.supabase import SupabaseCatalog
from convault.catalog.supabase.answers import refusal
from convault.errors import CatalogError, CatalogUnavailable, ConfigurationError
from convault.project import Project
from convault.settings import Settings, load_settings
from tests.canaries import marker
from tests.catalog.conftest import SHORT
from tests.catalog.test_catalog_failures import shown
from tests.stores.between import Fault, Request, between
from tests.supabase_stack import SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")


def row() -> BackupRecord:
    now = datetime.now(UTC)
    return BackupRecord(
        id=uuid4(), status=BackupStatus.COMPLETED, options={}, created_at=now, updated_at=now
    )


def first(fault: Fault | int, method: str = "") -> Callable[[Request, int], Fault | int | None]:
    """Fail the first request of this method."""
    failed: list[Request] = []

    def plan(request: Request, _: int) -> Fault | int | None:
        if failed or (method and request.method != method):
            return None
        failed.append(request)
        return fault

    return plan


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.TOO_MANY, Fault.DROP, Fault.CUT, 500, 540])
def test_what_passes_is_tried_again(data_api: Project, fault: Fault | int) -> None:
    SupabaseCatalog(data_api).add(row())
    with between(data_api.url, first(fault)) as (proxy, endpoint):
        began = time.monotonic()
        assert len(SupabaseCatalog(Project(endpoint, data_api.headers)).list(limit=1)) == 1
        assert len(proxy.requests) == 2
        assert fault is not Fault.TOO_MANY or time.monotonic() - began >= 1


def test_what_does_not_pass_is_asked_once_and_what_lasts_is_said(data_api: Project) -> None:
    for fault, kind, says in (
        (Fault.FORBIDDEN, CatalogError, "the key is wrong"),
        (401, CatalogError, "SUPABASE_SERVICE_ROLE_KEY"),
        (Fault.ELSEWHERE, CatalogError, "check SUPABASE_URL"),
        (404, CatalogError, "no Data API"),
        (Fault.BUSY, CatalogUnavailable, "answered 503"),
    ):
        with between(data_api.url, lambda *_, f=fault: f) as (proxy, endpoint):
            catalog = SupabaseCatalog(Project(endpoint, data_api.headers), attempts=2)
            with pytest.raises(kind, match=says) as caught:
                catalog.list()
            assert len(proxy.requests) == 1 + caught.value.transient
    with pytest.raises(CatalogUnavailable, match="no connection could be made"):
        SupabaseCatalog(Project("http://127.0.0.1:9", data_api.headers), attempts=1).list()


def test_what_was_done_and_not_answered_is_done_once(data_api: Project) -> None:
    truth = SupabaseCatalog(data_api)
    with between(data_api.url, first(Fault.LOST, "POST")) as (proxy, endpoint):
        added = SupabaseCatalog(Project(endpoint, data_api.headers)).add(row())
        assert [request.method for request in proxy.requests] == ["POST", "POST", "GET"]
    assert truth.list() == [added]
    with between(data_api.url, first(Fault.LOST, "PATCH")) as (_, endpoint):
        changed = SupabaseCatalog(Project(endpoint, data_api.headers)).replace(added, error="x")
    assert changed == truth.get(added.id)
    assert changed is not None
    assert changed.error == "x"
    with between(data_api.url, first(Fault.LOST, "PATCH")) as (_, endpoint):
        broken = SupabaseCatalog(Project(endpoint, data_api.headers))
        # Changed by somebody else before: that a call got no answer makes no difference.
        assert broken.replace(added, error="y") is None
    with between(data_api.url, first(Fault.LOST, "POST")) as (_, endpoint):
        SupabaseCatalog(Project(endpoint, data_api.headers)).add_recipient("age1" + "q" * 58)
    assert len(truth.recipients()) == 1


def test_a_wrong_key_is_said_and_shows_nowhere(catalog_supabase: SupabaseStack) -> None:
    secret = marker("secret")
    wrong = SupabaseCatalog(
        Project(catalog_supabase.url, {"apikey": f"sb_secret_{secret}"}), attempts=1
    )
    with pytest.raises(CatalogError, match="the key is wrong") as caught:
        wrong.list()
    assert secret not in shown(caught.value) + repr(wrong)


def test_a_key_that_may_not_write_is_told_which_one_is_wanted(
    catalog_supabase: SupabaseStack,
) -> None:
    publishable = Project(catalog_supabase.url, {"apikey": catalog_supabase.publishable_key})
    for call in (
        lambda: SupabaseCatalog(publishable, **SHORT).add(row()),
        lambda: SupabaseCatalog(publishable, **SHORT).begin(uuid4(), {}),
    ):
        with pytest.raises(CatalogError, match=r"SUPABASE_SERVICE_ROLE_KEY.*not the anon key"):
            call()


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (
            404,
            b'{"code": "PGRST205", "message": "Could not find the table"}',
            "convault migrations",
        ),
        (404, b'{"code": "PGRST202", "message": "Could not find the function"}', "migrations"),
        (400, b'{"code": "42703", "message": "column x"}', "migrations"),
        (403, b'{"code": "42501", "message": "permission denied canary"}', "not the anon key"),
        (409, b'{"code": "23505", "details": "Key (id)=(canary)"}', "SQLSTATE 23505"),
        (400, b'["canary"]', "refused the request"),
    ],
)
def test_answers_of_the_server_become_what_to_do_next(status: int, body: bytes, says: str) -> None:
    error = refusal(status, body)
    assert says in error.message
    assert not error.transient
    assert "canary" not in shown(error)


def test_without_its_tables_it_says_which_sql_to_run(catalog_supabase: SupabaseStack) -> None:
    catalog = SupabaseCatalog(
        Project(catalog_supabase.url, {"apikey": catalog_supabase.secret_key}), attempts=1
    )
    names = [m.name for m in migrations.migrations()]
    url = catalog_supabase.database_url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE public.convault_migrations RENAME TO moved_away")
        try:
            assert catalog.missing_migrations() == names
            with pytest.raises(CatalogError, match=r"convault migrations.*supabase db push"):
                catalog.migrate()
            # What it tells to run makes everything, again and where something is there already.
            for _ in range(2):
                connection.execute(migrations.script().encode())
            assert catalog.missing_migrations() == []
            assert catalog.migrate() == []
            assert PostgresCatalog(url).missing_migrations() == []
            connection.execute("UPDATE public.convault_migrations SET sha256 = 'other'")
            assert catalog.missing_migrations() == names
        finally:
            connection.execute("DROP TABLE public.convault_migrations")
            connection.execute("ALTER TABLE public.moved_away RENAME TO convault_migrations")
            PostgresCatalog(url).migrate()


def test_is_used_where_url_and_key_are_all_there_is(
    monkeypatch: pytest.MonkeyPatch, catalog_supabase: SupabaseStack
) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        load_settings().catalog_url()
    assert not load_settings().has_catalog
    monkeypatch.setenv("SUPABASE_URL", catalog_supabase.url)
    assert not load_settings().has_catalog
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", catalog_supabase.secret_key)
    assert load_settings().catalog_url() == DATA_API
    assert isinstance(open_catalog(DATA_API), SupabaseCatalog)
    monkeypatch.setenv("DATABASE_URL", "postgresql://host/database")
    assert load_settings().catalog_url() == "postgresql://host/database"
    monkeypatch.setenv("CONVAULT_CATALOG_URL", DATA_API)
    assert load_settings().catalog_url() == DATA_API
    assert Settings(convault_catalog_url="postgresql://x").catalog_url() == "postgresql://x"
    for key in (catalog_supabase.publishable_key, catalog_supabase.legacy_key("anon")):
        monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", key)
        with pytest.raises(ConfigurationError, match="SUPABASE_SERVICE_ROLE_KEY"):
            open_catalog(DATA_API)
