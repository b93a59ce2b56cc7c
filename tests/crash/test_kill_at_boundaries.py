"""SIGKILL before and after every step of a backup: the old state or the new, and the next works."""

from __future__ import annotations

import pytest

from tests.crash.victims import POINTS
from tests.crash.ward import Ward

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]

SETTINGS = {"CONVAULT_RANGE_PAGES": "64", "CONVAULT_CHUNK_BYTES": "1000000"}
"""few parts, because there are many kills"""

COMMITTED = {("write manifest", "after"), ("put manifest", "after"), ("row", "before"),
             ("row", "after"), ("release", "before"), ("release", "after")}  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
def test_a_backup_that_is_killed_leaves_the_old_state_or_the_new(
    ward: Ward, point: str, when: str
) -> None:
    before = ward.listed()
    killed = ward.kill({"point": point, "when": when})
    assert not killed.finished
    new = {killed.backup_id} if (point, when) in COMMITTED else set()
    assert ward.listed() == before | new
    ward.check_every_listed_backup()
    ward.check_the_next_backup(killed)
    ward.check_every_listed_backup()
