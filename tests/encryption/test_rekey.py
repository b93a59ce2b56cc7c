"""`rekey`: the same rows for other recipients, in a revision that supersedes the one before."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from convault.archive.composed import Archive
from convault.catalog.postgres import PostgresCatalog
from convault.encryption.age import Identity
from convault.encryption.objects import unlocked
from convault.encryption.rekey import left_behind
from convault.encryption.rekey_journal import journal_of
from convault.errors import (
    BusyError,
    ConfigurationError,
    ConvaultError,
    IdentityNeeded,
    IntegrityError,
    NotFoundError,
    ObjectConflict,
    RepositoryError,
    SignatureError,
    WrongIdentity,
)
from convault.manifest import FORMAT
from convault.reconcile import ChangeKind, reconcile
from convault.repository import Repository
from convault.signing.signature import Signature, SigningKeys
from tests.encryption.rekeyed import (
    EVE,
    KEYS,
    NEW,
    OLD,
    SECOND,
    check_whole,
    old_backup,
    rekeyed,
)  # fmt: skip
from tests.handmade import BACKUP

NO_KEYS = SigningKeys()


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    return tmp_path / "journals"


def snapshot(repository: Repository) -> dict[str, bytes]:
    return {info.key: repository.store.get(info.key) for info in repository.store.list()}


@pytest.mark.parametrize("before", [(OLD,), (OLD, SECOND), ()], ids=["one", "two", "plain"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_backup_is_written_anew(journals: Path, before: Sequence[Identity], workers: int) -> None:
    repository = old_backup(before)
    old = snapshot(repository)
    done = rekeyed(repository, journals, to=(NEW, SECOND), with_=before and (OLD,), workers=workers)
    assert (done.changed, done.revision, done.signed) == (True, 2, True)
    for identity in (NEW, SECOND):
        manifest = check_whole(repository, identity)
    with pytest.raises(WrongIdentity):
        unlocked(manifest, [OLD])
    assert repository.revisions() == {BACKUP: 2}
    assert {key: repository.store.get(key) for key in old} == old  # all of it stays
    assert KEYS.check(repository.manifest_bytes(BACKUP)) is Signature.SIGNED
    assert list(journals.iterdir()) == []
    readme = repository.store.get(manifest.members[0].key)
    assert readme.count(b"THE ROWS OF THIS BACKUP ARE ENCRYPTED") == (0 if before else 1)


def test_what_is_left_behind_is_told_to_the_byte(journals: Path) -> None:
    repository = old_backup()
    assert left_behind(repository) == 0
    before = repository.manifest(BACKUP)
    rekeyed(repository, journals)
    old = before.objects()
    for member in before.members:
        del old[member.key]  # README.txt and schema.sql are those of the new revision, too
    assert left_behind(repository) == sum(old.values())


def test_what_is_for_them_already_is_left_alone(journals: Path) -> None:
    repository = old_backup()
    before = snapshot(repository)
    done = rekeyed(repository, journals, to=(OLD,), with_=())
    assert (done.changed, done.revision) == (False, 1)
    assert snapshot(repository) == before


def test_again_and_again(journals: Path) -> None:
    repository = old_backup()
    rekeyed(repository, journals)
    rekeyed(repository, journals, to=(SECOND,), with_=(NEW,))
    assert rekeyed(repository, journals, to=(OLD,), with_=(SECOND,)).revision == 4
    assert check_whole(repository, OLD).revision == 4


@pytest.mark.parametrize(
    ("identities", "error"), [((), IdentityNeeded), ((EVE, NEW), WrongIdentity)]
)
def test_without_the_old_key_nothing_is_written(
    journals: Path, identities: Sequence[Identity], error: type[ConvaultError]
) -> None:
    repository = old_backup()
    before = snapshot(repository)
    with pytest.raises(error):
        rekeyed(repository, journals, with_=identities)
    assert snapshot(repository) == before
    assert not journals.exists() or list(journals.iterdir()) == []


def test_a_damaged_part_ends_it_and_the_old_revision_stands(journals: Path) -> None:
    repository = old_backup()
    part = repository.manifest(BACKUP).tables[1].parts[1]
    good = repository.store.get(part.key)
    repository.store.replace(part.key, good[:-1] + b"x")
    with pytest.raises(IntegrityError, match=part.key):
        rekeyed(repository, journals)
    assert repository.revisions() == {BACKUP: 1}
    repository.store.replace(part.key, good)
    rekeyed(repository, journals)
    check_whole(repository, NEW)


def test_no_backup() -> None:
    repository = old_backup()
    repository.store.delete(repository.manifest_key(BACKUP))
    with pytest.raises(NotFoundError):
        rekeyed(repository, Path("/nowhere"))


def test_what_a_later_version_wrote_is_not_lost(journals: Path) -> None:
    repository = old_backup(keys=NO_KEYS)
    package = json.loads(repository.manifest_bytes(BACKUP))
    package["convault"]["tables"][1]["parts"][0]["moon"] = "full"
    changed = json.dumps(package, ensure_ascii=False, indent=1).encode() + b"\n"
    repository.store.replace(repository.manifest_key(BACKUP), changed)
    check_whole(repository, OLD)
    with pytest.raises(RepositoryError, match="upgrade Convault"):
        rekeyed(repository, journals)
    assert repository.revisions() == {BACKUP: 1}


def test_a_backup_of_format_0_becomes_one_of_this_format(journals: Path) -> None:
    repository = old_backup(keys=NO_KEYS, to=())
    package = json.loads(repository.manifest_bytes(BACKUP))
    package["convault"]["format"] = 0
    for name in ("revision", "encryption", "features", "files", "erasures"):
        del package["convault"][name]
    changed = json.dumps(package, ensure_ascii=False, indent=1).encode() + b"\n"
    repository.store.replace(repository.manifest_key(BACKUP), changed)
    rekeyed(repository, journals, with_=())
    assert check_whole(repository, NEW).format == FORMAT


# Signatures: whoever could forge a manifest must not get it signed


def test_an_unsigned_one_stays_unsigned_unless_it_is_trusted(journals: Path) -> None:
    for trust, signature in ((False, Signature.UNSIGNED), (True, Signature.SIGNED)):
        repository = old_backup(keys=NO_KEYS)
        assert rekeyed(repository, journals, trust=trust).signed is trust
        assert KEYS.check(repository.manifest_bytes(BACKUP)) is signature


def test_a_wrongly_signed_one_is_refused_unless_it_is_trusted(journals: Path) -> None:
    repository = old_backup(keys=SigningKeys((b"another key of 32 bytes or more.",)))
    with pytest.raises(SignatureError, match="is wrong"):
        rekeyed(repository, journals)
    assert repository.revisions() == {BACKUP: 1}
    assert rekeyed(repository, journals, trust=True).signed


def test_a_signed_one_does_not_lose_its_signature_unasked(journals: Path) -> None:
    repository = old_backup()
    with pytest.raises(SignatureError, match="CONVAULT_SIGNING_KEY"):
        rekeyed(repository, journals, keys=NO_KEYS)
    assert not rekeyed(repository, journals, keys=NO_KEYS, trust=True).signed


# Two at once


def test_of_two_at_once_on_two_machines_one_writes_the_revision(tmp_path: Path) -> None:
    repository = old_backup()
    start = threading.Barrier(2)

    def run(number: int) -> str:
        mine = Repository.open(repository.store)
        start.wait()
        try:
            rekeyed(mine, tmp_path / str(number), to=((NEW, SECOND)[number],))
        except ObjectConflict as error:
            return error.message
        return "done"

    with ThreadPoolExecutor(2) as pool:
        ended = sorted(pool.map(run, range(2)))
    manifest = repository.manifest(BACKUP)
    assert manifest.encryption is not None
    winner = {i.recipient: i for i in (NEW, SECOND)}[manifest.encryption.recipients[0]]
    check_whole(repository, winner)
    # Either both met, or one came so late that it wrote the next revision.
    assert ended[0 if ended[0] != "done" else 1].startswith("Another rekey") or (
        manifest.revision == 3
    )


def test_a_revision_that_somebody_was_quicker_with_stays(tmp_path: Path) -> None:
    repository = old_backup()
    slow = Repository.open(repository.store)
    put = slow.put_manifest

    def late(*arguments: object) -> None:
        rekeyed(repository, tmp_path / "quick", to=(SECOND,))
        put(*arguments)  # type: ignore[arg-type]

    slow.put_manifest = late  # type: ignore[method-assign]
    with pytest.raises(ObjectConflict, match="was quicker: revision 2"):
        rekeyed(slow, tmp_path / "slow")
    check_whole(repository, SECOND)


def test_of_two_at_once_on_one_machine_one_is_kept_out(journals: Path) -> None:
    repository = old_backup()
    data = repository.manifest_bytes(BACKUP)
    with (
        journal_of(journals, BACKUP).opened(data, (NEW.recipient,)),
        pytest.raises(BusyError, match="works on this machine"),
    ):
        rekeyed(repository, journals)


# The journal


def test_the_journal_is_its_owners_alone_and_holds_no_identity(journals: Path) -> None:
    repository = old_backup()
    part = repository.manifest(BACKUP).tables[1].parts[2]
    good = repository.store.get(part.key)
    repository.store.replace(part.key, b"x" * len(good))
    with pytest.raises(IntegrityError):
        rekeyed(repository, journals)
    (path,) = journals.iterdir()
    assert stat.S_IMODE(journals.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"AGE-SECRET-KEY" not in path.read_bytes()
    for info in repository.store.list():
        assert b"AGE-SECRET-KEY" not in repository.store.get(info.key)
    journals.chmod(0o755)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        rekeyed(repository, journals)


@pytest.mark.parametrize("damage", ["torn", "garbage", "empty", "other recipients"])
def test_a_journal_that_cannot_be_gone_on_with(journals: Path, damage: str) -> None:
    repository = old_backup()
    part = repository.manifest(BACKUP).tables[1].parts[2]
    good = repository.store.get(part.key)
    repository.store.replace(part.key, b"x" * len(good))
    with pytest.raises(IntegrityError):
        rekeyed(repository, journals)
    repository.store.replace(part.key, good)
    (path,) = journals.iterdir()
    data = path.read_bytes()
    written = {"torn": data[:-5], "garbage": b"\xff{" + data, "empty": b""}
    path.write_bytes(written.get(damage, data))
    to = SECOND if damage == "other recipients" else NEW
    rekeyed(repository, journals, to=(to,))
    check_whole(repository, to)


def test_an_object_that_was_swept_meanwhile_is_written_again(journals: Path) -> None:
    repository = old_backup()
    part = repository.manifest(BACKUP).tables[1].parts[2]
    before = set(snapshot(repository))
    good = repository.store.get(part.key)
    repository.store.replace(part.key, b"x" * len(good))
    with pytest.raises(IntegrityError):
        rekeyed(repository, journals)
    repository.store.replace(part.key, good)
    for key in set(snapshot(repository)) - before:
        repository.store.delete(key)
    rekeyed(repository, journals)
    check_whole(repository, NEW)


# Lists and rows


@pytest.fixture
def catalog(database: str) -> PostgresCatalog:
    made = PostgresCatalog(database)
    made.migrate()
    return made


def test_the_row_follows_the_revision_and_keeps_its_times(
    journals: Path, catalog: PostgresCatalog
) -> None:
    repository = old_backup()
    catalog.register_repository(repository.repository_id, uuid4(), "memory://")
    reconcile(repository, catalog)
    before = catalog.get(BACKUP)
    rekeyed(repository, journals, to=(NEW, SECOND))
    assert repository.backup_ids() == [BACKUP]
    (change,) = reconcile(repository, catalog)
    assert change.kind is ChangeKind.REVISED
    assert "later revision" in str(change)
    after = catalog.get(BACKUP)
    assert (after.revision, after.completed_at) == (2, before.completed_at)
    archive = Archive(repository, BACKUP)
    assert after.file_size == archive.size
    assert after.stored_bytes == archive.manifest.stored_bytes
    assert reconcile(repository, catalog) == []


def test_a_catalog_that_is_rebuilt_takes_the_highest_revision(
    journals: Path, catalog: PostgresCatalog
) -> None:
    repository = old_backup()
    rekeyed(repository, journals)
    catalog.register_repository(repository.repository_id, uuid4(), "memory://")
    reconcile(repository, catalog)
    row = catalog.get(BACKUP)
    assert (row.revision, row.file_size) == (2, Archive(repository, BACKUP).size)


def test_revisions_of_a_backup_that_was_removed_are_no_backup(journals: Path) -> None:
    repository = old_backup()
    rekeyed(repository, journals)
    repository.store.delete(repository.manifest_key(BACKUP))
    assert repository.backup_ids() == []
    with pytest.raises(NotFoundError):
        repository.manifest(BACKUP)
    assert list(repository.manifests()) == []
