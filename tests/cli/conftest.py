"""The command as its users run it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cli.main import main
from convault.embedded import demo_data
from convault.embedded.server import EmbeddedPostgres
from tests.databases import drop_database
from tests.patience import PATIENCE
from tests.prefect_server import PrefectServer

Convault = Callable[..., subprocess.CompletedProcess[str]]

CHECKOUT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-c", "import sys; from cli.main import main; main()"]
"""As the `convault` script does, with whichever Python runs the tests."""


def clean_environment(**more: str) -> dict[str, str]:
    """Without any of the developer's own settings."""
    foreign = ("CONVAULT_", "SUPABASE_", "PREFECT_", "PG", "DATABASE_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "NO_COLOR": "1", "PYTHONPATH": str(CHECKOUT), **more}


def process(
    folder: Path, *arguments: str | Path, stdin: str | None = None, seconds: float = PATIENCE,
    **environment: str,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `convault ARGUMENTS` as a process of its own in `folder`, for so many seconds at most."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=clean_environment(**environment),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.fixture
def convault(tmp_path: Path) -> Convault:
    """Run `convault ARGUMENTS` in an empty folder, with `environment` and nothing else set."""
    folder = tmp_path / "process"
    folder.mkdir()
    return partial(process, folder)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with --json."""
        return json.loads(self.out)


InProcess = Callable[..., Ended]


@pytest.fixture
def run(
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> InProcess:
    """Run `convault ARGUMENTS` in this process, which is ten times quicker, in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: str | Path, **environment: str) -> Ended:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments)])
        output = capfdbinary.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Ended(code or 0, output.out.decode(errors="replace"), output.err.decode())

    return call


@dataclass(frozen=True)
class School:
    """A database of conversations, an installation, and one backup that the command made."""

    cluster: EmbeddedPostgres
    database: str
    store: Path
    environment: dict[str, str]
    initialised: subprocess.CompletedProcess[str]
    """what `convault init` said"""
    backed_up: subprocess.CompletedProcess[str]
    """what `convault backup --json` said"""

    @property
    def restoring(self) -> dict[str, str]:
        """The environment of somebody who may restore: with the key that `init` wrote."""
        lines = (self.store.parent / ".env").read_text().splitlines()
        key = next(line for line in lines if line.startswith("CONVAULT_SIGNING_KEY="))
        return {**self.environment, "CONVAULT_SIGNING_KEY": key.partition("=")[2].strip("'\"")}

    @property
    def record(self) -> dict[str, Any]:
        """The backup's row."""
        row: dict[str, Any] = json.loads(self.backed_up.stdout)
        return row


@pytest.fixture(scope="module")
def school(
    cluster: EmbeddedPostgres,
    prefect_server: PrefectServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[School]:
    """One for a module, whose tests must not change it."""
    name = f"school_{secrets.token_hex(6)}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    url = cluster.url(name)
    demo_data.fill(url, messages=400)
    folder = tmp_path_factory.mktemp("school")
    (folder / "store").mkdir(mode=0o700)
    environment = {"DATABASE_URL": url, "CONVAULT_STORE_URL": (folder / "store").as_uri()}
    initialised = process(folder, "init", **environment)
    backed_up = process(
        folder, "backup", "--compression-level", "9", "--json",
        PREFECT_API_URL=prefect_server.url, PREFECT_HOME=str(folder), **environment,
    )  # fmt: skip
    assert backed_up.returncode == 0, backed_up.stderr
    yield School(cluster, url, folder / "store", environment, initialised, backed_up)
    drop_database(cluster.url(), name)
