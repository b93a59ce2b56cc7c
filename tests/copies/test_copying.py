"""Copies of a real repository: what travels, what is proven, what follows, what is refused."""

from __future__ import annotations

import shutil
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from convault import layout
from convault.adoption import adopt, require_ours
from convault.copies import CopyState, remaining
from convault.errors import (
    ConfigurationError,
    CopyError,
    CopyIncomplete,
    NotAdopted,
    RepositoryError,
    StoreUnavailable,
)
from convault.replication.place import adopt_copy
from convault.replication.replicating import replicate
from convault.replication.rules import parse_rules
from convault.repository import Repository
from convault.retention.operating import delete, undelete
from convault.retention.policy import Policy
from convault.retention.sweeping import purge
from convault.stores import open_store
from convault.stores.base import Store
from convault.trash import trashed
from convault.verification.alone import verify_alone
from tests.copies.conftest import Copies
from tests.faulty import Fault, FaultyStore, Plan
from tests.retention.conftest import NONE, WHO


def keys_of(store: Store) -> set[str]:
    return {info.key for info in store.list() if not info.key.startswith("sweep/")}


def damage(path: Path) -> None:
    """One bit, so that the size stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_only_what_is_missing_travels_and_all_of_it_is_there(copies: Copies) -> None:
    vault = copies.vault
    made = vault.daily(3)
    done = copies.run()
    assert done.copied == [m.backup_id for m in made], "the newest first"
    assert keys_of(copies.copy.store) == keys_of(vault.repository.store)
    assert copies.damage() == set()
    again = copies.run()
    assert (again.pending, again.brought.objects) == ((), 0)
    fourth = vault.back_up(7)
    shared = set(fourth.objects()) & {key for m in made for key in m.objects()}
    assert shared, "or this test is of nothing"
    done = copies.run()
    assert done.copied == [fourth.backup_id]
    assert done.brought.objects == len(set(fourth.objects()) - shared)
    assert copies.damage() == set()
    assert copies.lag().state is CopyState.CURRENT
    # A copy is not what backups are written to, whoever asks.
    with pytest.raises(NotAdopted, match="copy of a repository"):
        require_ours(copies.copy, vault.catalog)


def test_what_is_not_what_it_should_be_when_it_arrived_makes_no_backup(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that says it has the bytes, has others of the same size."""
    made = copies.vault.back_up(1)
    replication = copies.replication()

    class Lying(FaultyStore):
        def put(self, key: str, data: bytes) -> bool:
            if key.startswith("data/"):
                data = data[:-1] + bytes([data[-1] ^ 1])
            return super().put(key, data)

    never = Plan(Fault.FAIL, operations=set(), calls=lambda call: False)
    replication.copy.store = Lying(replication.copy.store, never)
    with pytest.raises(CopyError, match="has other bytes there"):
        replicate(replication)
    assert copies.copy.backup_ids() == []
    assert copies.lag().missing == (made.backup_id,)
    assert "other bytes" in (copies.lag().error or "")
    # The next run finds it, proves it wrong, and replaces it; what was there is kept.
    done = copies.run()
    assert done.brought.repaired == len([k for k in made.objects() if k.startswith("data/")])
    assert copies.damage() == set()
    assert any(info.key.startswith(layout.DAMAGED) for info in copies.copy.store.list())


def test_what_is_damaged_at_the_source_harms_no_copy(copies: Copies) -> None:
    vault = copies.vault
    old = vault.back_up(1)
    copies.run()
    shared = vault.folder / next(k for k in old.objects() if "/conversations/" in k)
    damage(shared)
    new, other = vault.back_up(2), vault.back_up(1)
    own = vault.folder / next(k for k in new.objects() if k not in old.objects() and "data/" in k)
    damage(own)
    delete(vault.repository, vault.catalog, old.backup_id, WHO, force=True)
    with pytest.raises(CopyIncomplete, match="could not be copied") as caught:
        copies.run()
    assert str(own.relative_to(vault.folder)) in caught.value.message
    # What was proven when it came is not fetched again, whatever became of it at the source; what
    # is damaged there does not come; and nothing leaves while something could not be copied.
    assert set(copies.copy.backup_ids()) == {old.backup_id, other.backup_id}
    assert copies.damage() == set()
    assert copies.lag().missing == (new.backup_id,)
    # --check reads everything in the copy, and takes nothing that is damaged for it.
    with pytest.raises(CopyIncomplete):
        copies.run(check=True)
    assert copies.damage() == set()


def test_a_copy_that_was_damaged_is_put_right(copies: Copies) -> None:
    made = copies.vault.back_up(1)
    copies.run()
    folder = Path(copies.url.removeprefix("file://"))
    parts = [folder / key for key in made.objects() if key.startswith("data/")]
    damage(parts[0])
    parts[1].unlink()
    damage(folder / layout.manifest_key(made.backup_id))
    found = verify_alone(Repository.open(open_store(copies.url)), copies.settings.signing)
    assert not found.sound
    done = copies.run(check=True)
    assert done.brought.objects == 2
    assert copies.damage() == set()
    assert verify_alone(copies.copy, copies.settings.signing).sound


def test_deletions_and_purges_follow_and_a_copy_is_red_until_then(copies: Copies) -> None:
    vault = copies.vault
    repository, catalog = vault.repository, vault.catalog
    first, second, third = vault.daily(3)
    copies.run()
    delete(repository, catalog, third.backup_id, WHO)
    assert copies.lag().state is CopyState.HOLDING
    assert copies.lag().red
    assert copies.run().left == [third.backup_id]
    assert set(trashed(copies.copy)) == {third.backup_id}
    assert copies.lag().state is CopyState.CURRENT
    # Taken back there, it comes back here, and nothing travels.
    undelete(repository, catalog, third.backup_id, WHO)
    assert copies.lag().missing == (third.backup_id,)
    done = copies.run()
    assert (done.copied, done.brought.objects) == ([third.backup_id], 0)
    # A purge is for ever, from the trash too, and at the next run.
    for one in (third, second):
        delete(repository, catalog, one.backup_id, WHO)
    copies.run()
    for one in (third, second):
        purge(repository, catalog, one.backup_id, WHO)
    (record,) = catalog.copies(repository.repository_id)
    assert remaining([record], second.backup_id) == ["far"]
    assert copies.lag().holding == tuple(sorted([second.backup_id, third.backup_id]))
    done = copies.run()
    assert {one.backup_id for one in done.purged} == {second.backup_id, third.backup_id}
    left = {key for key in keys_of(copies.copy.store) if not key.startswith("convault.json")}
    assert left == {layout.manifest_key(first.backup_id), *first.objects()}
    assert copies.lag().state is CopyState.CURRENT
    (record,) = catalog.copies(repository.repository_id)
    assert remaining([record], second.backup_id) == []
    assert ("purge", "done") in {(e.action, e.result) for e in catalog.audited(20)}


@pytest.mark.parametrize("what", ["emptied", "manifests gone", "unmounted"])
def test_nothing_leaves_a_copy_because_the_first_place_lost_it(copies: Copies, what: str) -> None:
    vault = copies.vault
    made = vault.daily(4)
    copies.run()
    before = keys_of(copies.copy.store)
    for path in [*vault.folder.iterdir()]:
        if what == "unmounted" or path.name != "convault.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if what == "manifests gone" and path.name != "convault.json":
            path.mkdir()
    if what == "unmounted":
        with pytest.raises(RepositoryError):
            copies.run(Policy(keep_last=1))
    else:
        for rules in (None, Policy(keep_at_most="1h"), Policy(keep_last=1)):
            done = copies.run(rules)
            assert set(done.unexplained) == {m.backup_id for m in made}
            assert (done.left, done.purged) == ([], [])
    assert keys_of(copies.copy.store) == before
    assert copies.damage() == set()


def test_a_copy_has_rules_of_its_own(copies: Copies) -> None:
    vault = copies.vault
    made = vault.daily(8)
    done = copies.run(Policy(keep_last=4))
    assert done.copied == [m.backup_id for m in made[:4]]
    assert set(done.passed_over) == {m.backup_id for m in made[4:]}
    assert copies.lag().state is CopyState.CURRENT, "what its rules do not keep is not missing"
    # What is deleted at the first place stays where the copy's rules keep it; a purge follows.
    for one in made[1:3]:
        delete(vault.repository, vault.catalog, one.backup_id, WHO)
    purge(vault.repository, vault.catalog, made[2].backup_id, WHO)
    done = copies.run(Policy(keep_last=4))
    assert {one.backup_id for one in done.purged} == {made[2].backup_id}
    assert made[1].backup_id in copies.copy.backup_ids()
    # At most a third of them leaves at once, with the reason in the audit.
    done = copies.run(Policy(keep_last=1))
    assert len(done.left) == 1
    assert set(done.left) < {m.backup_id for m in made}
    assert any("no rule keeps it" in entry.detail for entry in vault.catalog.audited(20))
    vault.sql("UPDATE backups SET pinned = 'an exam' WHERE id = %s", made[1].backup_id)
    for _ in range(5):
        copies.run(Policy(keep_last=1))
    assert made[1].backup_id in copies.copy.backup_ids()


def test_a_place_that_is_no_copy_of_ours_is_refused(copies: Copies, tmp_path: Path) -> None:
    vault = copies.vault
    vault.back_up(1)
    # The first place itself, by another name.
    link = tmp_path / "link"
    link.symlink_to(vault.folder)
    itself = Copies(vault, link.as_uri())
    with pytest.raises((CopyError, ConfigurationError)):
        itself.run()
    other = Repository.create(open_store((tmp_path / "other").as_uri(), create=True))
    with pytest.raises(CopyError, match="choose another place"):
        Copies(vault, other.store.url).run()
    with pytest.raises(CopyError, match="choose another place"):
        adopt_copy(vault.repository, vault.catalog, "far", other.store.url)
    with pytest.raises(CopyError, match="its own"):
        adopt_copy(vault.repository, vault.catalog, "far", vault.repository.store.url)
    # Another installation's copy is read, and not written until it is adopted.
    copies.run()
    copies.copy.adopt(uuid4(), is_copy=True)
    with pytest.raises(NotAdopted, match="adopt --copy far"):
        copies.run()
    assert adopt_copy(vault.repository, vault.catalog, "far", copies.url) is True
    assert adopt_copy(vault.repository, vault.catalog, "far", copies.url) is False
    copies.run()
    # A disk that is not mounted gets no new copy.
    folder = Path(copies.url.removeprefix("file://"))
    folder.rename(tmp_path / "away")
    folder.mkdir()
    with pytest.raises(CopyError, match="should be mounted"):
        copies.run()
    assert "should be mounted" in (copies.lag().error or "")
    assert copies.lag().state is CopyState.FAILED
    assert list(folder.iterdir()) == []
    assert len(copies.run(new=True).copied) == 1


def test_a_copy_takes_the_place_of_the_first_one_and_that_becomes_a_copy(copies: Copies) -> None:
    vault = copies.vault
    vault.back_up(1)
    copies.run()
    copy = copies.copy
    assert adopt(copy, vault.catalog) is True
    require_ours(Repository.open(copy.store), vault.catalog)
    swapped = Copies(vault, vault.repository.store.url)
    swapped.vault.repository = copies.copy
    with pytest.raises(CopyError, match="adopt --copy far"):
        swapped.run()
    adopt_copy(copies.copy, vault.catalog, "far", swapped.url)
    assert swapped.run(check=True).brought.objects == 0


def test_a_run_that_fails_anywhere_is_gone_on_with(copies: Copies) -> None:
    """Every request to the copy fails once, the n-th of all: afterwards there are whole backups, or
    none, and the next run brings only what is missing."""
    made = [copies.vault.back_up(n) for n in (1, 2)]
    objects = set().union(*(m.objects() for m in made))
    travelled, failed = 0, 0
    for number in range(200):
        replication = copies.replication()
        counted = iter(range(10_000))
        plan = Plan(
            Fault.ANSWER_LOST if number % 2 else Fault.FAIL,
            operations={"put", "flush"},
            calls=lambda call, at=number, counted=counted: next(counted) == at,
        )
        replication.copy.store = FaultyStore(replication.copy.store, plan)
        try:
            with replication.recorded(), replication.writing():
                for backup_id in replication.done.pending:
                    replication.copy_one(backup_id)
        except StoreUnavailable:
            failed += 1
            assert copies.damage() == set()
        travelled += replication.done.brought.objects
        if not copies.replication().done.pending:
            break
    assert failed > 3
    assert copies.damage() == set()
    assert set(copies.copy.backup_ids()) == {m.backup_id for m in made}
    assert travelled <= len(objects)
    assert keys_of(copies.copy.store) == keys_of(copies.vault.repository.store)


def test_what_a_killed_run_left_is_swept_when_nobody_needs_it(copies: Copies) -> None:
    made = copies.vault.back_up(1)
    copies.run()
    orphan = layout.part_key(made.tables[0].name, sha256(b"x").hexdigest(), ".ndjson.zst")
    copies.copy.store.put(orphan, b"x")
    assert copies.run(grace=timedelta(hours=24)).swept is not None
    assert orphan in keys_of(copies.copy.store)
    done = copies.run(grace=NONE)
    assert done.swept is not None
    assert done.swept.removed == 1
    assert orphan not in keys_of(copies.copy.store)


def test_a_newer_revision_comes_with_what_it_needs(copies: Copies) -> None:
    vault = copies.vault
    made = vault.back_up(1)
    copies.run()
    entry = vault.repository.put_revised(made.backup_id, "README.txt", b"Anew.\n")
    members = (made.members[0].model_copy(update=entry), *made.members[1:])
    vault.repository.put_manifest(made.model_copy(update={"revision": 3, "members": members}))
    vault.catalog.update(made.backup_id, revision=3)
    assert copies.lag().missing == (made.backup_id,)
    assert copies.run().brought.objects == 1
    assert copies.copy.manifest(made.backup_id).revision == 3
    assert copies.damage() == set()
    assert copies.lag().state is CopyState.CURRENT


@pytest.mark.parametrize(
    "text",
    ["", "daily", "daily=0", "daily=7,daily=8", "forever=1", "within=soon", "at-most=1d,within=9d"],
)
def test_rules_that_say_nothing_or_two_things_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="CONVAULT_STORE_FAR_KEEP"):
        parse_rules(text, "CONVAULT_STORE_FAR_KEEP")


def test_rules_are_those_of_a_clean_up() -> None:
    found: Any = parse_rules("last=3, daily=7,at-most=2y, minimum=2", "X").to_json()
    assert found == {"keepLast": 3, "keepDaily": 7, "keepAtMost": "2y", "minimumGood": 2}
