"""The embedded Postgres starts, survives, and keeps to itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.errors import ConfigurationError
from tests.patience import awaited


@pytest.fixture
def folder() -> Iterator[Path]:
    import shutil
    import tempfile

    base = Path(tempfile.mkdtemp(prefix="cv-"))
    base.chmod(0o711)
    yield base
    shutil.rmtree(base)


def one(url: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1").fetchone()


def test_starts_stops_and_starts_again(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    assert one(server.url()) == (1,)
    server.start()
    server.stop()
    server.stop()
    assert not server.running()
    server.start()
    assert one(server.url()) == (1,)
    server.destroy()
    assert not (folder / "pg").exists()


def ended(process: psutil.Process) -> bool:
    """Also one that nobody asked how it ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_starts_after_its_postmaster_was_killed(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    pid = int((server.data / "postmaster.pid").read_text().split()[0])
    postmaster = psutil.Process(pid)
    family = [postmaster, *postmaster.children()]
    postmaster.kill()
    # Its children end when they see that it is gone; until then no other one may start.
    awaited(lambda: all(ended(process) for process in family))
    again = EmbeddedPostgres(folder / "pg")
    again.start()
    assert one(again.url()) == (1,)
    again.destroy()


def test_a_long_path_gets_a_short_socket_folder_that_is_private(folder: Path) -> None:
    server = EmbeddedPostgres(folder / ("x" * 100) / "pg")
    server.folder.parent.mkdir(mode=0o711)
    server.start()
    assert one(server.url()) == (1,)
    assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
    server.destroy()
    assert not server.socket_folder.exists()


def test_listens_on_no_port(folder: Path) -> None:
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
    server.destroy()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is replaced by nobody")
def test_root_is_told_when_nobody_cannot_reach_the_folder(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match="CONVAULT_HOME"):
        EmbeddedPostgres(folder / "closed" / "pg").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is replaced by nobody")
def test_programs_that_nobody_cannot_reach_are_copied_with_their_libraries(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a checkout that only root may enter; also over a copy that lacks them."""
    monkeypatch.setattr(
        "convault.embedded.server._reachable_by_others", lambda path: "pginstall" not in str(path)
    )
    (folder / "pg" / "postgres-18" / "bin").mkdir(parents=True)
    server = EmbeddedPostgres(folder / "pg")
    server.start()
    assert one(server.url()) == (1,)
    server.destroy()
