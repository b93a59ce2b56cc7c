"""SIGKILL before and after every step of a backup: the old state or the new, and the next works."""

from __future__ import annotations

import pytest

from tests.crash.ward import Ward

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("crash")]

SETTINGS = {"CONVAULT_RANGE_PAGES": "64", "CONVAULT_CHUNK_BYTES": "1000000"}
"""few parts, because there are many kills"""

BOUNDARIES = [
    ("begin", "after"),
    ("reconcile", "after"),
    ("upload", "before"),
    ("upload", "after"),
    ("count", "after"),
    ("members", "before"),
    ("members", "after"),
    ("look up", "before"),
    ("look up", "after"),
    ("flush", "after"),
    ("check lease", "after"),
    ("write manifest", "before"),
    ("write manifest", "after"),
    ("put manifest", "after"),
    ("row", "after"),
    ("release", "after"),
]
"""in their order; what lies before a step and is not here is the same moment as after the last"""
ONLY_IN_SOAK = {
    ("begin", "after"),
    ("reconcile", "after"),
    ("count", "after"),
    ("members", "before"),
    ("look up", "before"),
    ("release", "after"),
}
"""what they leave behind is what a neighbour leaves that `make test` kills at"""
COMMITTED = BOUNDARIES[BOUNDARIES.index(("write manifest", "after")) :]


@pytest.mark.parametrize(
    ("point", "when"),
    [pytest.param(*b, marks=[pytest.mark.matrix] if b in ONLY_IN_SOAK else []) for b in BOUNDARIES],
)
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


@pytest.mark.parametrize(("point", "status"), [("members", "completed"), ("count", "failed")])
def test_one_that_is_told_to_stop_finishes_its_commit_and_nothing_else(
    ward: Ward, point: str, status: str
) -> None:
    told = ward.kill({"point": point, "when": "before", "signal": "SIGTERM"})
    row = ward.application.installation().catalog.get(told.backup_id)
    assert (row.status, "told to stop" in str(row.error)) == (status, status == "failed")
    assert told.finished == (told.backup_id in ward.listed()) == (status == "completed")
    ward.check_every_listed_backup()
