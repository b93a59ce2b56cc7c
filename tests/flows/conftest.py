"""What the tests of the flow share: an application, and a Prefect server that this process uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from convault.embedded.server import EmbeddedPostgres
from tests.flows.application import Application, build
from tests.prefect_server import PrefectServer


@pytest.fixture
def application(
    cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prefect_api: PrefectServer,
) -> Application:
    """Some ten parts of it; its catalog lies in a database of its own. The environment names it."""
    made = build(
        new_database(cluster),
        new_database(cluster),
        tmp_path / "store",
        CONVAULT_RANGE_PAGES="16",
        CONVAULT_PART_BYTES="131072",
        CONVAULT_CHUNK_BYTES="300000",
    )
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def empty(cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str]) -> str:
    """URL of an empty database to restore into."""
    return new_database(cluster)
