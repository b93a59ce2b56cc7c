"""Deleting, taking back, pinning, cleaning up, sweeping, purging, on a real catalog and store."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest

from convault import layout
from convault.adoption import adopt
from convault.catalog.base import AuditEntry, BackupStatus
from convault.catalog.postgres import PostgresCatalog
from convault.commit import commit
from convault.errors import (
    BusyError,
    ConfigurationError,
    LeaseLost,
    NotAdopted,
    NotFoundError,
    OptionsError,
    RemovalRefused,
    SweepRefused,
)
from convault.reconcile import ChangeKind, reconcile
from convault.repository import Repository
from convault.retention import marks
from convault.retention.cleaning import apply, plan
from convault.retention.configured import require_grace
from convault.retention.operating import acknowledge, delete, pin, undelete, unpin
from convault.retention.policy import Policy
from convault.retention.sweeping import purge
from convault.retention.uncatalogued import sweep_without_catalog
from convault.stores import open_store
from convault.stores.base import ObjectInfo, Store
from convault.trash import move_to_trash
from convault.verification.verifying import survey
from tests.cli.conftest import InProcess
from tests.cli.conftest import run as run
from tests.handmade import new_backup
from tests.retention.conftest import NONE, WEEK, WHO, Vault, kept_contents, opened

DELETED, DONE = BackupStatus.DELETED, BackupStatus.COMPLETED
ZONE = ZoneInfo("UTC")


def test_a_deleted_backup_does_not_exist_and_can_be_taken_back(vault: Vault) -> None:
    old, new = vault.back_up(1), vault.back_up(2)
    before = vault.listed()
    row = delete(vault.repository, vault.catalog, old.backup_id, WHO)
    assert row.status is DELETED
    assert row.deleted_at is not None
    assert vault.repository.backup_ids() == [new.backup_id]
    with pytest.raises(NotFoundError):
        vault.repository.manifest(old.backup_id)
    assert delete(vault.repository, vault.catalog, old.backup_id, WHO) == row, "twice is once"
    assert reconcile(vault.repository, vault.catalog) == []
    # Its objects are needed, and `verify` calls nothing orphaned.
    assert survey(vault.repository, vault.catalog).findings == []
    assert vault.sweep().removed == 0
    again = undelete(vault.repository, vault.catalog, old.backup_id, WHO)
    assert (again.status, again.deleted_at, again.rows) == (DONE, None, 60)
    assert vault.repository.manifest(old.backup_id) == old
    assert undelete(vault.repository, vault.catalog, new.backup_id, WHO).status is DONE, (
        "it is there"
    )
    assert survey(vault.repository, vault.catalog).findings == []
    assert before <= vault.listed()
    assert {e.action for e in vault.catalog.audited()} == {"delete", "undelete", "sweep"}


def test_each_moment_of_a_deletion_is_mended(vault: Vault) -> None:
    """Killed between its steps; `test_killed.py` kills for real."""
    kept, gone = vault.back_up(1), vault.back_up(2)
    store, id_ = vault.repository.store, gone.backup_id
    data = store.get(layout.manifest_key(id_))
    store.put(layout.trash_key(id_), data)
    assert reconcile(vault.repository, vault.catalog) == []
    assert id_ in vault.repository.backup_ids(), "it exists as before"
    store.delete(layout.manifest_key(id_))
    (change,) = reconcile(vault.repository, vault.catalog)
    assert (change.kind, vault.catalog.get(id_).status) == (ChangeKind.DELETED, DELETED)
    # And of taking it back: in its place, and its row not yet.
    store.put(layout.manifest_key(id_), data)
    (change,) = reconcile(vault.repository, vault.catalog)
    assert (change.kind, vault.catalog.get(id_).status) == (ChangeKind.COMPLETED, DONE)
    assert vault.sweep().expired == ()
    assert layout.trash_key(id_) not in vault.listed(), "the copy is no longer needed"
    assert set(vault.repository.backup_ids()) == {kept.backup_id, id_}
    assert vault.damage() == set()


def test_what_must_stay_is_refused(vault: Vault) -> None:
    old, new = vault.back_up(1), vault.back_up(2)
    pin(vault.catalog, old.backup_id, "  an exam ", WHO)
    for id_, why in ((old.backup_id, "pinned \\(an exam\\)"), (new.backup_id, "last good one")):
        with pytest.raises(RemovalRefused, match=why):
            delete(vault.repository, vault.catalog, id_, WHO)
    unpin(vault.catalog, old.backup_id, WHO)
    delete(vault.repository, vault.catalog, old.backup_id, WHO)
    delete(vault.repository, vault.catalog, new.backup_id, WHO, force=True)
    assert vault.repository.backup_ids() == []
    running = uuid4()
    with (
        vault.catalog.begin(running, {}),
        pytest.raises(RemovalRefused, match="is processing"),
    ):
        delete(vault.repository, vault.catalog, running, WHO)
    with pytest.raises(OptionsError, match="reason"):
        pin(vault.catalog, new.backup_id, " ", WHO)
    with pytest.raises(NotFoundError):
        delete(vault.repository, vault.catalog, uuid4(), WHO)
    told = [(e.action, e.result) for e in vault.catalog.audited()]
    assert told.count(("delete", "removal-refused")) == 3
    assert ("pin", "done") in told
    assert all((e.actor, e.origin) == ("ana", "cli") for e in vault.catalog.audited())


def test_a_clean_up_says_why_of_each_and_a_dry_run_changes_nothing(vault: Vault) -> None:
    made = vault.daily(6)
    policy, before = Policy(keep_last=2), vault.listed()
    tried = plan(vault.repository, vault.catalog, policy, ZONE, unattended=False, dry_run=True)
    assert vault.listed() == before
    assert [d.backup.id for d in tried.going] == [m.backup_id for m in made[2:]]
    found = plan(vault.repository, vault.catalog, policy, ZONE, unattended=True)
    assert [d.backup.id for d in found.going] == [m.backup_id for m in made[4:]]
    apply(vault.repository, vault.catalog, found, WHO)
    assert set(vault.repository.backup_ids()) == {m.backup_id for m in made[:4]}
    reasons = {e.backup_id: (e.action, e.detail) for e in vault.catalog.audited() if e.backup_id}
    assert reasons[made[5].backup_id] == ("delete", "no rule keeps it")
    assert reasons[made[0].backup_id][0] == "keep"
    assert reasons.keys() == {m.backup_id for m in made}


def test_what_changed_since_a_clean_up_decided_stays(vault: Vault) -> None:
    """A pin, a proof; and the newest, for whose sake others were to go, deleted by force."""
    made = vault.daily(5)
    ids = [manifest.backup_id for manifest in made]
    found = plan(vault.repository, vault.catalog, Policy(keep_last=2), ZONE, unattended=False)
    assert [d.backup.id for d in found.going] == ids[2:]
    pin(vault.catalog, ids[2], "an exam", WHO)
    proven = vault.catalog.get(ids[3])
    assert vault.catalog.replace(proven, verified_at=vault.catalog.now()) is not None
    apply(vault.repository, vault.catalog, found, WHO)
    assert set(vault.repository.backup_ids()) == set(ids[:4])
    unpin(vault.catalog, ids[2], WHO)
    found = plan(vault.repository, vault.catalog, Policy(keep_last=1), ZONE, unattended=False)
    assert {d.backup.id for d in found.going} == {ids[1], ids[2]}
    delete(vault.repository, vault.catalog, ids[0], WHO, force=True)
    assert apply(vault.repository, vault.catalog, found, WHO).going == ()
    assert set(vault.repository.backup_ids()) == set(ids[1:4])
    results = [(e.backup_id, e.result) for e in vault.catalog.audited() if e.action == "delete"]
    assert (ids[1], "changed meanwhile") in results


def test_a_shrunk_table_holds_its_group_until_it_is_acknowledged(vault: Vault) -> None:
    made = vault.daily(3)
    small = new_backup(vault.repository, kept_contents(9), backup_id=uuid4())
    tables = tuple(t.model_copy(update={"rows": 1}) if t.name.name == "messages" else t
                   for t in small.tables)  # fmt: skip
    small = small.model_copy(update={"tables": tables, "created_at": vault.catalog.now()})
    cut = [
        p.model_copy(update={"rows": 1})
        for t in tables
        for p in t.parts
        if t.name.name == "messages"
    ][:1]
    tables = tuple(
        t.model_copy(update={"parts": tuple(cut)}) if t.name.name == "messages" else t
        for t in tables
    )
    small = small.model_copy(update={"tables": tables})
    with vault.catalog.begin(small.backup_id, small.options) as lease:
        commit(vault.repository, vault.catalog, lease, small, metrics={})
    policy = Policy(keep_last=1)

    def going() -> int:
        planned = plan(vault.repository, vault.catalog, policy, ZONE, unattended=False)
        return len(planned.going)

    assert going() == 0
    acknowledge(vault.catalog, small.backup_id, WHO)
    assert going() == len(made)


def test_two_phases_and_the_grace_between_them(vault: Vault) -> None:
    kept, gone = vault.back_up(1), vault.back_up(2)
    delete(vault.repository, vault.catalog, gone.backup_id, WHO, force=True)
    assert vault.sweep(trash=WEEK).expired == ()
    before = vault.listed()
    tried = vault.sweep(grace=timedelta(hours=6), trash=NONE, dry_run=True)
    assert tried.expired == (gone.backup_id,)
    assert vault.listed() == before
    first = vault.sweep(grace=timedelta(hours=6), trash=NONE)
    own = gone.objects().keys() - kept.objects().keys()
    assert (first.expired, first.removed, first.marked) == ((gone.backup_id,), 0, len(own))
    assert own <= vault.listed()
    with pytest.raises(NotFoundError):
        undelete(vault.repository, vault.catalog, gone.backup_id, WHO)
    # Six hours later: as if all that is marked and stored were so much older.
    old = {k: t - timedelta(hours=7) for k, t in marks.read(vault.repository).items()}
    marks.write(vault.repository, old)
    assert vault.sweep(grace=timedelta(hours=6)).removed == 0, "the objects are not that old"
    vault_now = vault.catalog.now().timestamp() - 7 * 3600
    for key in own:
        os.utime(vault.folder / key, (vault_now, vault_now))
    marks.write(vault.repository, old)
    assert vault.sweep(grace=timedelta(hours=6)).removed == len(own)
    assert not own & vault.listed()
    assert vault.damage() == set()
    longest = timedelta(hours=6)
    require_grace(longest, longest)
    with pytest.raises(ConfigurationError, match="shorter than the longest backup"):
        require_grace(timedelta(hours=5), longest)


def test_a_sweep_that_cannot_be_certain_removes_nothing(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = vault.back_up(1), vault.back_up(2)
    orphan = "data/messages/" + "0" * 64 + ".ndjson.zst"
    (vault.folder / orphan).write_bytes(b"x")
    key = vault.repository.manifest_key(first.backup_id)
    whole = (vault.folder / key).read_bytes()

    def refused(match: str) -> None:
        with pytest.raises(SweepRefused, match=match):
            vault.sweep()
        assert orphan in vault.listed()

    (vault.folder / key).write_bytes(whole[:100])
    refused("not a manifest")
    (vault.folder / key).write_bytes(whole.replace(b"olhub", b"").replace(b'"18.0"', b'"18.1"'))
    refused("not those that were committed")
    (vault.folder / key).unlink()
    refused("its manifest is gone")
    reconcile(vault.repository, vault.catalog)
    refused("its manifest is gone")
    (vault.folder / key).write_bytes(whole)
    reconcile(vault.repository, vault.catalog)
    # A listing from which something is missing that a manifest names.
    listed = type(vault.repository.store).list
    part = next(iter(second.objects()))
    monkeypatch.setattr(
        type(vault.repository.store),
        "list",
        lambda self, prefix="": (i for i in listed(self, prefix) if i.key != part),
    )
    refused("it is not there")
    monkeypatch.undo()
    # Clocks that disagree.
    ahead = timedelta(minutes=6)
    monkeypatch.setattr(type(vault.catalog), "now", lambda self: datetime.now(UTC) + ahead)
    refused("clock of this host")
    monkeypatch.undo()
    delete(vault.repository, vault.catalog, first.backup_id, WHO, force=True)
    trash = vault.folder / layout.trash_key(first.backup_id)
    trash.write_bytes(whole[:100])
    refused("not a manifest")
    trash.write_bytes(whole)
    assert vault.sweep().removed == 1
    assert orphan not in vault.listed()


def test_nothing_goes_while_the_stores_clock_is_off(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of the probe is what the file system says of it."""
    made = vault.daily(3)
    head, clock = type(vault.repository.store).head, type(vault.catalog).now
    asked: list[datetime] = []

    def now(self: PostgresCatalog) -> datetime:
        asked.append(clock(self))
        return asked[-1]

    def late(self: Store, key: str) -> ObjectInfo:
        if key.startswith(f"{layout.SWEEP}clock-"):
            then = asked[-1].timestamp() - 360  # what has passed since makes no difference
            os.utime(vault.folder / key, (then, then))
        return head(self, key)

    monkeypatch.setattr(type(vault.catalog), "now", now)
    monkeypatch.setattr(type(vault.repository.store), "head", late)
    found = plan(vault.repository, vault.catalog, Policy(keep_last=1), ZONE, unattended=False)
    assert found.going == ()
    reasons = {d.backup.id: d.reason for d in found.decisions}
    assert "the clock of the store is 360 s off" in reasons[made[2].backup_id]
    with pytest.raises(SweepRefused, match="clock of the store"):
        vault.sweep()
    assert not any(key.startswith(layout.SWEEP) for key in vault.listed()), "no probe is left"


def test_without_a_catalog_only_grace_decides(vault: Vault, run: InProcess) -> None:
    kept, gone = vault.back_up(1), vault.back_up(2)
    six, own = timedelta(hours=6), gone.objects().keys() - kept.objects().keys()
    move_to_trash(vault.repository, gone.backup_id)
    theirs = Repository.open(open_store(vault.folder.as_uri()))
    with pytest.raises(ConfigurationError, match="shorter than the longest backup"):
        sweep_without_catalog(theirs, grace=timedelta(hours=5), longest=six, trash=NONE)
    # As an operator types it; whoever has a catalog is sent to it.
    url, typed = vault.folder.as_uri(), str(theirs.repository_id)
    short = run("sweep", "--from-store", url, CONVAULT_TRASH_DAYS="0", CONVAULT_MAX_HOURS="30")
    assert short.status == ConfigurationError.exit_code
    asked = run("sweep", "--from-store", url, CONVAULT_MAX_HOURS="6")
    assert asked.status == NotAdopted.exit_code
    assert typed in asked.err
    first = run("sweep", "--from-store", url, "--repository", typed, "--json")
    assert first.json["expired"] == [str(gone.backup_id)]
    assert (first.json["removedObjects"], own <= vault.listed()) == (0, True)
    other = run("sweep", "--from-store", url, "--repository", typed, DATABASE_URL=vault.url)
    assert other.status == OptionsError.exit_code
    # A backup that was at work when it was taken over is refused, also at the last moment.
    late = new_backup(vault.repository, kept_contents(3), backup_id=uuid4())
    with (
        vault.catalog.begin(late.backup_id, late.options) as lease,
        pytest.raises(NotAdopted, match="meanwhile"),
    ):
        commit(vault.repository, vault.catalog, lease, late, metrics={})
    # Later, as if all that was marked and stored were so much older.
    theirs = Repository.open(open_store(url))
    marks.write(theirs, {k: t - timedelta(hours=7) for k, t in marks.read(theirs).items()})
    then = vault.catalog.now().timestamp() - 7 * 3600
    for key in own:
        os.utime(vault.folder / key, (then, then))
    assert sweep_without_catalog(theirs, grace=six, longest=six, trash=NONE).removed == len(own)
    assert set(kept.objects()) <= vault.listed()
    # Who adopts it again goes on; what this had marked counts for nothing.
    assert adopt(Repository.open(theirs.store), vault.catalog)
    with pytest.raises(LeaseLost, match="adopted"):
        sweep_without_catalog(theirs, grace=six, longest=six, trash=NONE)
    assert marks.read(Repository.open(theirs.store)) == {}


def test_writers_share_and_who_removes_is_alone(vault: Vault) -> None:
    id_, catalog = vault.repository.repository_id, vault.catalog
    hasty = opened(vault.url, vault.folder, patience=0.2, guard_patience=0.4)
    with catalog.begin(uuid4(), {}), catalog.begin(uuid4(), {}), catalog.guard(id_) as shared:
        shared.check()
        with pytest.raises(BusyError, match="nothing can be removed now"):
            hasty.sweep()
    with catalog.guard(id_, alone=True) as alone:
        alone.check()
        with pytest.raises(BusyError, match="are being removed"):
            hasty.catalog.begin(uuid4(), {})
        with pytest.raises(BusyError):
            hasty.catalog.guard(id_)
        vault.end_sessions_with_locks()
        with pytest.raises(LeaseLost):
            alone.check()
        catalog.begin(uuid4(), {}).__exit__(None, None, None)  # the dead holder freed it


def test_a_run_that_lost_its_lock_keeps_sweeps_out_while_its_lease_lasts(vault: Vault) -> None:
    manifest = new_backup(vault.repository, kept_contents(1), backup_id=uuid4())
    lease = vault.catalog.begin(manifest.backup_id, {})
    vault.end_sessions_with_locks()
    with pytest.raises(BusyError, match="its lease is not over"):
        vault.sweep()
    with pytest.raises(LeaseLost):
        commit(vault.repository, vault.catalog, lease, manifest, metrics={})
    lease.__exit__(None, None, None)
    vault.sql("UPDATE backups SET lease_expires_at = clock_timestamp() - interval '1 second'")
    assert vault.sweep().removed == len(manifest.objects())


def test_a_purge_erases_what_is_its_own_at_once(vault: Vault) -> None:
    kept, gone = vault.back_up(1), vault.back_up(2)
    with pytest.raises(NotFoundError, match="not in the trash"):
        purge(vault.repository, vault.catalog, gone.backup_id, WHO)
    delete(vault.repository, vault.catalog, gone.backup_id, WHO, force=True)
    own = gone.objects().keys() - kept.objects().keys()
    part = next(key for key in own if key.startswith("data/"))
    copy = f"damaged/{part}/{'1' * 64}"
    vault.repository.store.put(copy, b"damaged")
    erased = purge(vault.repository, vault.catalog, gone.backup_id, WHO)
    assert set(erased.erased) == {*own, copy, layout.trash_key(gone.backup_id)}
    assert set(erased.shared) == gone.objects().keys() & kept.objects().keys() != set()
    assert not set(erased.erased) & vault.listed()
    assert vault.damage() == set()
    assert vault.catalog.get(gone.backup_id).status is DELETED
    assert vault.catalog.audited()[0].action == "purge"


def test_only_the_installation_that_adopted_it_writes(vault: Vault, database: str) -> None:
    made = vault.back_up(1)
    other = type(vault.catalog)(database, attempts=1)
    other.migrate()
    other.register_repository(vault.repository.repository_id, uuid4(), "file:///x")
    theirs = Repository.open(open_store(vault.folder.as_uri()))
    assert theirs.manifest(made.backup_id) == made, "reading is free"
    with pytest.raises(NotAdopted, match="convault adopt"):
        plan(theirs, other, Policy(keep_last=1), ZONE, unattended=True)
    late = new_backup(vault.repository, kept_contents(2), backup_id=uuid4())
    with vault.catalog.begin(late.backup_id, {}) as lease:
        assert adopt(theirs, other)
        assert not adopt(theirs, other)
        with pytest.raises(NotAdopted, match="meanwhile"):
            commit(vault.repository, vault.catalog, lease, late, metrics={})
    with pytest.raises(NotAdopted):
        vault.sweep()
    reconcile(theirs, other)
    assert len(plan(theirs, other, Policy(keep_last=1), ZONE, unattended=True).decisions) == 1


def test_the_audit_keeps_the_newest_first(vault: Vault) -> None:
    for n in range(3):
        vault.catalog.audit(AuditEntry(actor=f"a\0{n}", origin="api", action="x", result="done"))
    assert [e.actor for e in vault.catalog.audited(2)] == ["a2", "a1"]
    with psycopg.connect(vault.url) as connection:
        row = connection.execute("SELECT count(*) FROM backup_audit").fetchone()
    assert row == (3,)
