"""SIGKILL at random moments of backups, deletions, undeletions, purges, sweeps: no object that is
needed is ever gone, and what is left is put right."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from convault.catalog.base import BackupStatus
from convault.errors import BusyError
from convault.reconcile import reconcile
from convault.trash import trashed
from convault.verification.findings import FindingKind
from convault.verification.verifying import survey
from tests.patience import PATIENCE
from tests.prefect_server import CHECKOUT
from tests.retention.conftest import WEEK, Vault
from tests.soak import count

KILLS = count(5, 50)


@pytest.mark.soak
def test_whatever_is_killed_nothing_that_is_needed_is_gone(
    vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    victims = subprocess.Popen(
        [sys.executable, "-m", "tests.retention.victims"],
        cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert victims.stdin is not None
    assert victims.stdout is not None
    with victims:
        for number in range(KILLS):
            order = {"url": vault.url, "folder": str(vault.folder), "seed": rng.randrange(2**32)}
            victims.stdin.write(json.dumps(order) + "\n")
            victims.stdin.flush()
            process = int(victims.stdout.readline())
            time.sleep(rng.uniform(0.2, 1.5))
            os.kill(process, signal.SIGKILL)
            status = int(victims.stdout.readline())
            assert os.WIFSIGNALED(status), f"seed {seed}, kill {number}: it ended by itself"
            assert vault.damage() == set(), f"seed {seed}, kill {number}"
        victims.stdin.close()
    patience = time.monotonic() + PATIENCE
    while True:
        try:
            reconcile(vault.repository, vault.catalog)
            vault.sweep(trash=WEEK)
            vault.sweep(trash=WEEK)
            break
        except BusyError:  # the lease of the last one
            assert time.monotonic() < patience
            time.sleep(0.2)
    reconcile(vault.repository, vault.catalog)
    there = set(vault.repository.backup_ids())
    rows = {row.id: row.status for row in vault.catalog.list()}
    assert {id_ for id_, status in rows.items() if status is BackupStatus.COMPLETED} == there
    assert BackupStatus.PROCESSING not in rows.values()
    assert all(rows[id_] is BackupStatus.DELETED for id_ in trashed(vault.repository))
    found = survey(vault.repository, vault.catalog).findings
    assert [f for f in found if f.kind is not FindingKind.UNKNOWN] == []
    assert vault.damage() == set()
    vault.back_up(9)
    with capsys.disabled():
        done = [entry.action for entry in vault.catalog.audited(10_000) if entry.result == "done"]
        told = {action: done.count(action) for action in sorted(set(done))}
        print(f"\nseed {seed}: {KILLS} kills; {len(rows)} backups begun; done: {told}")
