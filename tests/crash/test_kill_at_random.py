"""SIGKILL at random moments of a backup of at least 20 parts."""

from __future__ import annotations

import random
import time

import pytest

from tests.crash.ward import Ward
from tests.soak import count

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("crash"), pytest.mark.soak]

SETTINGS = {
    "CONVAULT_RANGE_PAGES": "4",
    "CONVAULT_PART_BYTES": "65536",
    "CONVAULT_CHUNK_BYTES": "200000",
}

KILLS = count(3, 50)


@pytest.mark.timeout(3300)  # however many: where they are fewer, each takes longer
def test_backups_that_are_killed_at_random_moments(
    ward: Ward, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    first = ward.kill({"seconds": 600.0})
    assert first.finished
    assert first.uploads >= 20
    ward.check_every_listed_backup()
    # The others store only what changed.
    started = time.monotonic()
    measured = ward.kill({"seconds": 600.0})
    whole = time.monotonic() - started
    assert measured.finished
    assert measured.uploads >= 10
    ward.check_every_listed_backup()
    phases = {"before the first upload": 0, "between": 0, "after the manifest": 0}
    too_late = 0
    while (number := sum(phases.values())) < KILLS:
        before = ward.listed()
        if number % 5 == 0:
            kill = {"seconds": rng.uniform(0, whole)}
        else:
            # Somewhere between the first part and the manifest.
            uploads = rng.randint(1, measured.uploads - 1)
            kill = {"uploads": uploads, "seconds": rng.uniform(0, 0.03)}
        killed = ward.kill(kill)
        if killed.finished:
            too_late += 1
        elif killed.committed:
            phases["after the manifest"] += 1
        elif killed.uploads:
            phases["between"] += 1
        else:
            phases["before the first upload"] += 1
        assert ward.listed() in (before, before | {killed.backup_id})
        assert not killed.committed or killed.backup_id in ward.listed()
        ward.check_every_listed_backup()
        ward.check_the_next_backup(killed)
    with capsys.disabled():
        print(
            f"\nseed {seed}: {KILLS} kills of backups of {first.uploads} parts, of which"
            f" {measured.uploads} were new: {phases};"
            f" {too_late} more finished before they were killed"
        )
    assert phases["between"] * 4 >= KILLS
