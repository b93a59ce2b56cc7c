"""The names that this checkout installs are this checkout's, and `supabase` is the library."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak import PERCENT, count

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["convault", "tasks", "flows", "deployments", "api", "cli"])
def test_package_is_this_checkout(name: str) -> None:
    module = importlib.import_module(name)
    assert Path(str(module.__file__)).parent == ROOT / name


def test_supabase_is_the_library_although_a_folder_has_its_name() -> None:
    """`supabase/` holds migrations, as the Supabase CLI lays them out."""
    code = "import supabase; print(supabase.create_client.__module__, supabase.__file__)"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "site-packages" in answer.stdout


def test_a_skipped_test_fails_where_ci_runs(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_it(): pytest.skip('no zstd')\n")
    codes = {}
    for ci in ("true", "false"):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
        codes[ci] = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
        ).returncode
    assert codes == {"true": 1, "false": 0}


def test_constraints_name_versions_and_nothing_else() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, equals, version = line.partition("==")
        assert equals, line
        assert name.strip(), line
        assert version.strip(), line


def test_a_slow_machine_repeats_less_and_never_less_than_make_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for soak, percent, expected in ((None, "100", 3), (None, "40", 3), ("1", None, 50),
                                    ("1", "100", 50), ("1", "40", 20), ("1", "1", 3)):  # fmt: skip
        for name, value in (("CONVAULT_SOAK", soak), (PERCENT, percent)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        assert count(3, 50) == expected, (soak, percent)


def test_what_has_a_soak_count_is_run_by_make_soak() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text()
        if re.search(r"^from (tests\.)?soak import", text, re.MULTILINE):
            assert "mark.soak" in text, f"{path} has a count, but `-m soak` does not run it"
