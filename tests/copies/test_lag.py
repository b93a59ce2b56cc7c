"""How far a copy is behind, from what the catalog knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from convault.catalog.base import BackupRecord, BackupStatus, CopyRecord, Held
from convault.copies import CopyState, lag, lags
from convault.replication.planning import Seen, plan

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
REPOSITORY = uuid4()
HELD = Held(state="held")


def row(hours: float, **changes: Any) -> BackupRecord:
    at = NOW - timedelta(hours=hours)
    record = BackupRecord(
        id=uuid4(), status=BackupStatus.COMPLETED, options={}, created_at=at, updated_at=at,
        completed_at=at, repository_id=REPOSITORY,
    )  # fmt: skip
    return record.model_copy(update=changes)


def copy(**changes: Any) -> CopyRecord:
    made = CopyRecord(
        id=uuid4(), repository_id=REPOSITORY, name="far", url="s3://x", succeeded_at=NOW
    )
    return made.model_copy(update=changes)


def test_a_backup_may_be_missing_for_a_while_and_not_for_longer() -> None:
    old, young = row(30), row(2)
    held = copy(contents={old.id: HELD}, succeeded_at=NOW - timedelta(hours=20))
    found = lag(held, [old, young], NOW)
    assert (found.state, found.red, found.missing) == (CopyState.CURRENT, False, (young.id,))
    assert (found.seconds, found.age, found.newest) == (2 * 3600, 20 * 3600, old.created_at)
    found = lag(copy(contents={young.id: HELD}), [old, young], NOW)
    assert (found.state, found.red, found.seconds) == (CopyState.LAGGING, True, 30 * 3600)
    assert "lacks 1 backups, the oldest for 30.0 h" in found.in_words
    found = lag(held, [old, young], NOW, late=timedelta(hours=1))
    assert found.state is CopyState.LAGGING


def test_what_was_purged_or_deleted_is_red_at_once() -> None:
    deleted = row(5, status=BackupStatus.DELETED)
    purged = row(5, status=BackupStatus.DELETED, purged_at=NOW)
    every = [deleted, purged]
    contents = {one.id: HELD for one in every}
    assert lag(copy(contents=contents), every, NOW).holding == tuple(sorted(contents))
    own = lag(copy(contents=contents, mirror=False), every, NOW)
    assert (own.state, own.holding) == (CopyState.HOLDING, (purged.id,))
    for state, held in (("trashed", True), ("arriving", True), ("passed over", False)):
        found = lag(copy(contents={purged.id: Held(state=state)}), every, NOW)
        assert (found.state is CopyState.HOLDING) is held, state
    assert lag(copy(contents={deleted.id: Held(state="trashed")}), every, NOW).holding == ()


def test_an_older_revision_or_one_on_its_way_is_not_there() -> None:
    one = row(1, revision=2)
    for held in (HELD, Held(state="arriving", revision=2), Held(state="trashed", revision=2)):
        assert lag(copy(contents={one.id: held}), [one], NOW).missing == (one.id,)
    assert lag(copy(contents={one.id: Held(state="held", revision=2)}), [one], NOW).missing == ()
    assert lag(copy(contents={one.id: Held(state="passed over")}), [one], NOW).missing == ()
    others = [row(90, status=s) for s in (BackupStatus.FAILED, BackupStatus.PENDING)]
    strange = row(90, repository_id=uuid4())
    assert lag(copy(), [*others, strange], NOW).state is CopyState.CURRENT


def test_a_store_that_was_never_copied_to_is_told_too() -> None:
    failed = copy(error="it is full")
    found = lags(["far", "near"], [failed], [row(1)], NOW, REPOSITORY)
    assert [(one.name, one.state, one.red) for one in found] == [
        ("far", CopyState.FAILED, False), ("near", CopyState.NEVER, True),
    ]  # fmt: skip
    assert found[1].to_json()["missing"] != []
    assert found[0].to_json()["error"] == "it is full"


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Seen, Seen, dict[UUID, BackupRecord], bool]:
    ids = [UUID(int=n) for n in range(draw(st.integers(0, 8)))]
    some = st.sets(st.sampled_from(ids)) if ids else st.just(set())

    def seen() -> Seen:
        revisions = {one: draw(st.integers(1, 3)) for one in draw(some)}
        return Seen(revisions, frozenset(draw(some) - revisions.keys()))

    rows = {}
    for one in draw(some):
        purged = draw(st.sampled_from([None, NOW]))
        status = draw(st.sampled_from(BackupStatus))
        rows[one] = row(1, id=one, status=status, purged_at=purged)
    return seen(), seen(), rows, draw(st.booleans())


@given(worlds())
def test_only_what_the_catalog_calls_deleted_ever_leaves(
    world: tuple[Seen, Seen, dict[UUID, BackupRecord], bool],
) -> None:
    first, far, rows, mirror = world
    made = plan(first, far, rows, mirror=mirror)
    gone = {*made.purging, *made.leaving}
    assert all(rows[one].status is BackupStatus.DELETED for one in gone)
    assert all(rows[one].purged_at is not None for one in made.purging)
    assert not gone & first.revisions.keys()
    assert mirror or not made.leaving
    assert gone <= far.revisions.keys() | far.trashed
    assert set(made.copying) <= first.revisions.keys()
    # Nobody who is seen nowhere loses anything: of a first place that shows nothing, only what
    # the catalog calls deleted leaves.
    blind = plan(Seen({}), far, rows, mirror=mirror)
    assert {*blind.purging, *blind.leaving} <= {
        one for one in rows if rows[one].status is BackupStatus.DELETED
    }
    # And with no catalog, nothing.
    unknown = plan(first, far, {}, mirror=mirror)
    assert (unknown.purging, unknown.leaving) == ((), ())
    # When it is done, there is nothing more to do.
    after = Seen(
        {**{k: v for k, v in far.revisions.items() if k not in gone},
         **{one: first.revisions[one] for one in made.copying}},
        frozenset((far.trashed | set(made.leaving)) - set(made.purging) - set(made.copying)),
    )  # fmt: skip
    again = plan(first, after, rows, mirror=mirror)
    assert (again.copying, again.purging, again.leaving) == ((), (), ())
