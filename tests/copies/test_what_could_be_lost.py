"""A copy may be the last place of a backup: what it never lets go, and what it must not keep."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from convault import layout
from convault.copies import CopyState
from convault.errors import CopyError, LeaseLost
from convault.replication.place import lock_of
from convault.replication.replicating import Replication
from convault.retention.operating import delete, pin
from convault.retention.policy import Policy
from convault.retention.sweeping import purge
from tests.copies.conftest import Copies
from tests.copies.test_copying import keys_of
from tests.retention.conftest import NONE, WHO


def carried(replication: Replication) -> None:
    with replication.writing():
        for backup_id in replication.done.pending:
            replication.copy_one(backup_id)
    replication.follow()


def test_one_place_has_one_lock_whatever_it_is_called(copies: Copies, tmp_path: Path) -> None:
    """Or a purge under the one name erases what a run under the other counts on."""
    copies.vault.back_up(1)
    copies.run()
    link = tmp_path / "alias"
    link.symlink_to(tmp_path / "far")
    other = Copies(copies.vault, link.as_uri())
    assert lock_of(copies.copy) == lock_of(other.copy)


def test_no_manifest_is_written_when_the_lock_was_lost(copies: Copies) -> None:
    """Somebody may have removed meanwhile what was proven before."""
    copies.vault.back_up(1)
    replication = copies.replication()
    with replication.recorded(), replication.writing():
        copies.vault.end_sessions_with_locks()
        with pytest.raises(LeaseLost):
            replication.copy_one(replication.done.pending[0])
    assert copies.copy.backup_ids() == []
    assert len(copies.run().copied) == 1


def test_who_stands_for_a_group_must_have_arrived(copies: Copies) -> None:
    vault = copies.vault
    old = vault.back_up(1, created_at=vault.catalog.now() - timedelta(days=30))
    copies.run(Policy(keep_last=3))
    new = [vault.back_up(n, created_at=vault.catalog.now()) for n in (2, 3)]
    replication = copies.replication(Policy(keep_at_most="7d"))
    with replication.recorded():
        for one in new:
            delete(vault.repository, vault.catalog, one.backup_id, WHO, force=True)
        carried(replication)
    assert copies.copy.backup_ids() == [old.backup_id]


def test_nothing_is_swept_where_a_manifest_of_the_copy_vanished(copies: Copies) -> None:
    vault, rules = copies.vault, Policy(keep_last=5)
    _, _, third = vault.daily(3)
    copies.run(rules)
    delete(vault.repository, vault.catalog, third.backup_id, WHO)
    vault.sweep(trash=NONE)
    copies.run(rules)
    key = layout.manifest_key(third.backup_id)
    manifest = copies.copy.store.get(key)
    copies.copy.store.delete(key)
    for _ in range(2):
        with pytest.raises(
            CopyError, match=f"had backup {third.backup_id}.*copy --to far --new` once.$"
        ):
            copies.run(rules, grace=NONE)
    copies.copy.store.put(key, manifest)
    assert copies.damage() == set()
    assert copies.run(rules, grace=NONE).swept is not None
    # Somebody who does not want it any more says so once.
    copies.copy.store.delete(key)
    copies.run(rules, grace=NONE, new=True)
    assert set(third.objects()) - keys_of(copies.copy.store)
    copies.run(rules, grace=NONE)


def test_a_run_that_was_killed_when_its_trash_was_empty_is_no_loss(copies: Copies) -> None:
    vault = copies.vault
    vault.daily(3)
    copies.run(Policy(keep_last=3))
    replication = copies.replication(Policy(keep_last=1), trash=NONE)
    with replication.recorded():
        replication._conclude = lambda *_: None  # type: ignore[method-assign]
        carried(replication)
    assert replication.done.swept is not None
    assert replication.done.swept.expired
    delete(vault.repository, vault.catalog, replication.done.swept.expired[0], WHO)
    vault.sweep(trash=NONE)
    assert copies.run(Policy(keep_last=3)).swept is not None


def test_what_is_pinned_comes_back_from_the_trash_of_a_copy(copies: Copies) -> None:
    vault = copies.vault
    last = vault.daily(6)[-1]
    copies.run(Policy(keep_last=6))
    delete(vault.repository, vault.catalog, last.backup_id, WHO)
    vault.sweep(trash=NONE)
    assert copies.run(Policy(keep_last=2)).left
    assert last.backup_id not in copies.copy.backup_ids()
    pin(vault.catalog, last.backup_id, "a court asks for it", WHO)
    copies.run(Policy(keep_last=2), trash=NONE, grace=NONE)
    assert last.backup_id in copies.copy.backup_ids()
    assert copies.damage() == set()


@pytest.mark.parametrize("when", ["after a kill", "on its way"])
def test_what_is_purged_before_it_arrived_is_erased_too(copies: Copies, when: str) -> None:
    """Its objects are there, and no manifest that tells which they are."""
    vault = copies.vault
    made = vault.daily(2)
    copies.run()
    third = vault.back_up(9, created_at=vault.catalog.now())
    only = set(third.objects()).difference(*(m.objects() for m in made))
    replication = copies.replication()
    with replication.recorded():
        if when == "after a kill":
            replication._conclude = lambda *_: None  # type: ignore[method-assign]
        for key in only:
            copies.copy.store.put(key, vault.repository.store.get(key))
        delete(vault.repository, vault.catalog, third.backup_id, WHO, force=True)
        purge(vault.repository, vault.catalog, third.backup_id, WHO)
        assert copies.lag().holding == (third.backup_id,)
        if when == "on its way":
            carried(replication)
    if when == "after a kill":
        assert copies.lag().state is CopyState.HOLDING
        copies.run(grace=timedelta(hours=24))
    assert not only & keys_of(copies.copy.store)
    assert copies.lag().state is CopyState.CURRENT
    assert copies.damage() == set()


def test_what_was_cut_off_in_the_copy_travels_again(copies: Copies) -> None:
    """A listing tells it, whatever was proven once."""
    vault = copies.vault
    first = vault.back_up(1)
    copies.run()
    second = vault.back_up(2)
    shared = min(set(first.objects()) & set(second.objects()))
    copies.copy.store.replace(shared, b"cut off")
    assert copies.run().brought.repaired == 1
    assert copies.damage() == set()
