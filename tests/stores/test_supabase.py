"""The store in Supabase Storage, on a real server: the suite, and what only this store has."""

from __future__ import annotations

import pytest

from convault.stores import open_store
from convault.stores.base import Store
from tests.stores.suite import KEYS, StoreSuite
from tests.supabase_stack import SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")


def use(stack: SupabaseStack, monkeypatch: pytest.MonkeyPatch, url: str, key: str) -> None:
    monkeypatch.setenv("SUPABASE_URL", url)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", key)


class OnLite(StoreSuite):
    # lite writes over the one file of a name, where Supabase keeps each version in its own.
    test_whoever_reads_what_is_replaced_finds_one_or_the_other = None
    creates_at_once = False
    keys = KEYS.filter(lambda key: ".." not in key)  # which Supabase takes inside a name


class TestWithoutResumableUploads(OnLite):
    @pytest.fixture
    def store(self, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch) -> Store:
        use(supabase, monkeypatch, supabase.url, supabase.secret_key)
        return open_store(f"supabase://{supabase.new_bucket()}/back/ups")


class TestWithResumableUploads(OnLite):
    @pytest.fixture
    def store(self, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch) -> Store:
        use(supabase, monkeypatch, supabase.resumable_url, supabase.legacy_key())
        return open_store(f"supabase://{supabase.new_bucket()}/back/ups")
