"""A worker lives with the paths of its machine: spaces in them, and what another user made."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from prefect.runner import Runner
from prefect.utilities.processutils import command_from_string

from deployments.stack.worker import engine, own_scratch


def test_an_interpreter_in_a_folder_with_spaces_carries_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/home/ana/my school's $5/.venv/bin/python")
    assert command_from_string(engine()) == [sys.executable, "-m", "prefect.engine"]


def test_what_another_user_made_in_tmp_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "runner_storage").write_text("nobody makes a folder in here")
    with own_scratch():
        (made := Runner()._tmp_dir).mkdir(parents=True)
        assert made.is_dir()
    assert not made.exists()
    assert tempfile.gettempdir() == str(tmp_path)
