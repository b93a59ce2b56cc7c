"""Whoever copies files, or puts them back, is killed: the next one ends what was begun."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convault.files.restoring import put_back
from convault.restore import RestoreOptions
from convault.verification.reading import Subset
from convault.verification.verifying import verify
from tests.files.world import World, outcomes

pytestmark = [pytest.mark.xdist_group("supabase"), pytest.mark.long]

FILES = {f"d/{n}.bin": random.Random(n).randbytes(20_000) for n in range(30)}
FILES["large"] = random.Random(99).randbytes(15_000_000)


def killed(world: World, what: str, seconds: float) -> int:
    """The status: -9, or 0 where it was faster."""
    application = world.application
    given = [what, application.url, str(application.store), application.environment]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.files.victim", json.dumps(given)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        time.sleep(seconds)
        process.kill()
    return process.returncode


def test_files_are_whole_after_any_kill(world: World) -> None:
    for path, data in FILES.items():
        world.upload(path, data)
    world.attach(*FILES)
    for seconds in (0.2, 0.5, 0.8, 1.1):
        assert killed(world, "back up", seconds) in (-9, 0)
    manifest, _ = world.back_up()
    assert set(outcomes(manifest).values()) == {"stored"}
    assert verify(world.application.installation(), subset=Subset(1, 1)).sound
    world.remove(FILES)
    assert world.names() == []
    for seconds in (0.2, 0.5, 0.8, 1.1):
        assert killed(world, str(manifest.backup_id), seconds) in (-9, 0)
    installation = world.application.installation()
    put = put_back(
        installation.settings, installation.repository.store, manifest, (),
        RestoreOptions(files=True),
    )  # fmt: skip
    assert put.put + put.same == len(FILES)
    for path, data in FILES.items():
        assert world.read(path)[0] == data
