"""Whose `.env` is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.demo_home import default_folder
from convault import settings
from convault.errors import ConfigurationError
from convault.home import home
from convault.settings import load_settings

NOBODY = 65534


@pytest.fixture
def env_file() -> Path:
    settings.ENV_FILE.write_text("CONVAULT_STORE_URL=file:///from/env/file\n")
    settings.ENV_FILE.chmod(0o600)
    return settings.ENV_FILE


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the file another user's; where only root may do that, make us another user."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, -1)
    else:
        monkeypatch.setattr("os.geteuid", lambda: NOBODY)


def test_ones_own_is_read(env_file: Path) -> None:
    assert load_settings().store_url() == "file:///from/env/file"


def test_that_of_another_user_is_refused(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_away(env_file, monkeypatch)
    with pytest.raises(ConfigurationError, match="belongs to another user") as caught:
        load_settings()
    assert "from/env" not in caught.value.message
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        settings.Settings().target_url("other")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606])
def test_what_others_can_read_is_refused(env_file: Path, mode: int) -> None:
    env_file.chmod(mode)
    with pytest.raises(ConfigurationError, match=r"chmod 600 \.env"):
        load_settings()


def test_the_home_may_stand_in_the_file_but_is_no_demos(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("CONVAULT_HOME=/srv/convault\n")
    assert home() == Path("/srv/convault")
    assert default_folder() != Path("/srv/convault/demo")
    monkeypatch.setenv("CONVAULT_HOME", "/mnt/convault")
    assert home() == Path("/mnt/convault")
    assert default_folder() == Path("/mnt/convault/demo")


@pytest.mark.parametrize(("cores", "workers"), [(1, 2), (2, 2), (3, 3), (64, 4)])
def test_workers_are_chosen_by_the_cores(
    cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert load_settings().convault_workers == workers
    monkeypatch.setenv("CONVAULT_WORKERS", "7")
    assert load_settings().convault_workers == 7
