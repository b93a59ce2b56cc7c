"""Where the demo lives, and what it says at its end."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo_hints import what_next
from cli.demo_home import DemoHome, default_folder, held, on_its_own
from convault.errors import BusyError, ConfigurationError


@pytest.fixture
def _careful_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_the_folder_that_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONVAULT_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "demo"
    monkeypatch.setenv("CONVAULT_HOME", "relative")
    with pytest.raises(ConfigurationError, match="absolute"):
        default_folder()
    monkeypatch.delenv("CONVAULT_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_folder() == Path("/var/lib/convault/demo")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/ana")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_folder().is_relative_to("/home/ana")
    assert default_folder().parts[-2:] == ("convault", "demo")


@pytest.mark.usefixtures("_careful_umask")
@pytest.mark.parametrize(("user", "mode"), [(0, 0o711), (1000, 0o700)])
def test_its_folders_are_closed_but_let_nobody_through_for_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, mode: int
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    with held(tmp_path / "a" / "b") as home:
        for folder in (home.folder, home.folder.parent):
            assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_one_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path / "demo"):
        with pytest.raises(BusyError, match="Another demo"), held(tmp_path / "demo"):
            pass
        with held(tmp_path / "other"):
            pass
    with held(tmp_path / "demo"):
        pass


def test_a_home_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--home"), held(tmp_path / "file" / "demo"):
        pass


def test_no_setting_of_the_users_gets_in_and_all_come_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / ".env").write_text("CONVAULT_WORKERS=7\n")
    monkeypatch.chdir(tmp_path / "cwd")
    foreign = {"CONVAULT_WORKERS": "7", "SUPABASE_URL": "x", "PREFECT_API_URL": "x",
               "PGHOST": "x", "DATABASE_URL": "x"}  # fmt: skip
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CONVAULT_DEBUG", "1")
    before = dict(os.environ)
    with held(tmp_path / "demo") as home, on_its_own(home):
        assert not set(foreign) - {"DATABASE_URL"} & set(os.environ)
        assert "school" in os.environ["DATABASE_URL"]
        assert os.environ["CONVAULT_DEBUG"] == "1"
        assert not Path(".env").exists()
    assert dict(os.environ) == before
    assert Path(".env").exists()


def test_what_is_shown_can_be_typed(tmp_path: Path) -> None:
    """In a shell, whatever the folder is called."""
    home = DemoHome(tmp_path / "it's a demo")
    (home.download / "backup_x").mkdir(parents=True)
    (home.download / "backup_x.tar").touch()
    (home.download / "backup_x" / "SHA256SUMS").write_text("")
    stopped = what_next(home, running=False)
    assert stopped[0].startswith("cd ")
    moved = stopped[0].partition(" && ")[0]
    shown = subprocess.run(
        ["sh", "-ec", f"{moved}; pwd"], capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"{home.download / 'backup_x'}\n"
    exports = [line for line in what_next(home, running=True) if line.startswith("export ")]
    script = "; ".join([*exports, 'echo "$CONVAULT_STORE_URL"'])
    shown = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == home.store.as_uri()
    assert any(line.endswith("--stop") for line in what_next(home, running=True))
