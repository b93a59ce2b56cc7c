"""SIGKILL at random moments of copying, while the first repository changes: every backup of the
copy is whole at any time, and in the end it holds what it should."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convault.catalog.base import BackupStatus
from convault.copies import CopyState
from convault.errors import BusyError
from convault.reconcile import reconcile
from tests.copies.conftest import Copies
from tests.patience import PATIENCE
from tests.prefect_server import CHECKOUT
from tests.retention.conftest import NONE
from tests.soak import count

KILLS = count(4, 50)


@pytest.mark.soak
def test_whatever_is_killed_the_copy_holds_whole_backups(
    copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    vault = copies.vault
    for number in range(3):
        vault.back_up(number)
    victims = subprocess.Popen(
        [sys.executable, "-m", "tests.copies.victims"],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert victims.stdin is not None
    assert victims.stdout is not None
    with victims:
        for number in range(KILLS):
            order = {
                "url": vault.url, "folder": str(vault.folder), "far": copies.url,
                "seed": rng.randrange(2**32),
            }  # fmt: skip
            victims.stdin.write(json.dumps(order) + "\n")
            victims.stdin.flush()
            process = int(victims.stdout.readline())
            time.sleep(rng.uniform(0.1, 1.2))
            os.kill(process, signal.SIGKILL)
            status = int(victims.stdout.readline())
            assert os.WIFSIGNALED(status), f"seed {seed}, kill {number}: it ended by itself"
            # Killed before the place was a repository, there is nothing that could be damaged.
            if (Path(copies.url.removeprefix("file://")) / "convault.json").exists():
                assert copies.damage() == set(), f"seed {seed}, kill {number}"
            assert vault.damage() == set(), f"seed {seed}, kill {number}"
        victims.stdin.close()
    patience = time.monotonic() + PATIENCE
    while True:
        try:
            reconcile(vault.repository, vault.catalog)
            vault.back_up(9)
            for _ in range(2):
                copies.run(trash=NONE, grace=NONE)
            break
        except BusyError:  # the session of the last one
            assert time.monotonic() < patience
            time.sleep(0.2)
    there = set(copies.copy.backup_ids())
    assert there == set(vault.repository.backup_ids())
    assert copies.damage() == set()
    assert copies.lag().state is CopyState.CURRENT
    gone = [row.id for row in vault.catalog.list() if row.status is BackupStatus.DELETED]
    assert not there & set(gone)
    with capsys.disabled():
        runs = [entry for entry in vault.catalog.audited(10_000) if entry.action == "copy"]
        print(f"\nseed {seed}: {KILLS} kills; {len(runs)} runs came to an end; {len(there)} copied")
