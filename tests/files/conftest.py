"""What the tests of files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from convault.embedded.server import EmbeddedPostgres
from tests.files.world import TABLES, World
from tests.flows.application import build
from tests.supabase_stack import SupabaseStack


@pytest.fixture
def world(
    cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    supabase: SupabaseStack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """A small application and an empty bucket; the environment names both."""
    application = build(
        new_database(cluster), new_database(cluster), tmp_path / "store",
        conversations=5, messages=40,
    )  # fmt: skip
    application.execute(TABLES)
    named = {
        **application.environment,
        "SUPABASE_URL": supabase.full_url,
        "SUPABASE_SERVICE_ROLE_KEY": supabase.secret_key,
    }
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    return World(application, supabase, supabase.new_bucket())
