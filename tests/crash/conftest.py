"""An application whose backups are killed, and the process that kills them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from convault.embedded.server import EmbeddedPostgres
from tests.crash.ward import Ward
from tests.flows.application import build, database
from tests.prefect_server import CHECKOUT, PrefectServer, stop


@pytest.fixture(scope="module")
def ward_of_the_module(
    request: pytest.FixtureRequest, cluster: EmbeddedPostgres, prefect_server: PrefectServer
) -> Iterator[Ward]:
    """One application for all kills of a module: what they leave behind piles up, as it would."""
    with (
        tempfile.TemporaryDirectory() as folder,
        database(cluster) as url,
        database(cluster) as catalog_url,
        (Path(folder) / "victims.log").open("wb") as log,
    ):
        application = build(
            url,
            catalog_url,
            Path(folder) / "store",
            **getattr(request.module, "SETTINGS", {}),
        )
        victims = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.victims"],
            cwd=CHECKOUT,
            env=prefect_server.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            yield Ward(application, victims, lambda: database(cluster))
        finally:
            assert victims.stdin is not None
            assert victims.stdout is not None
            victims.stdin.close()
            victims.stdout.close()
            stop(victims)


@pytest.fixture
def ward(
    ward_of_the_module: Ward, prefect_api: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> Ward:
    for name, value in ward_of_the_module.application.environment.items():
        monkeypatch.setenv(name, value)
    return ward_of_the_module
