"""A repository: made once, recognised, and never talked into another's manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from obstore.store import MemoryStore

from convault.errors import NotFoundError, ObjectConflict, RepositoryError, StoreUnavailable
from convault.manifest import Manifest
from convault.models import TableName
from convault.repository import Repository
from convault.stores.base import Store
from convault.stores.folder import FolderStore
from convault.stores.objects import ObjectStore
from tests.faulty import Fault, FaultyStore, Plan, loses_answers
from tests.handmade import BACKUP, CONVERSATIONS, MESSAGES, new_backup, new_repository, rows

SHA = "0123456789abcdef" * 4


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return ObjectStore(MemoryStore(), "memory://test")
    return FolderStore(tmp_path, "file:///store")


def test_create_then_open(store: Store) -> None:
    made = Repository.create(store)
    opened = Repository.open(store)
    assert opened.repository_id == made.repository_id
    assert opened.installation_id == made.installation_id
    assert opened.created_at == made.created_at
    assert Repository.open(store, made.repository_id).store is store
    assert json.loads(store.get("convault.json")) == {
        "format": 1,
        "features": [],
        "repository_id": str(made.repository_id),
        "installation_id": str(made.installation_id),
        "created_at": made.created_at.isoformat().replace("+00:00", "Z"),
    }


def test_an_installation_may_have_several() -> None:
    first = new_repository()
    second = Repository.create(ObjectStore(MemoryStore(), "memory://b"), first.installation_id)
    assert second.installation_id == first.installation_id
    assert second.repository_id != first.repository_id


def test_create_refuses_one_that_is_there(store: Store) -> None:
    made = Repository.create(store)
    with pytest.raises(RepositoryError, match="is a repository already"):
        Repository.create(store)
    assert Repository.open(store).repository_id == made.repository_id


def test_create_refuses_to_mend_a_broken_marker(store: Store) -> None:
    store.put("convault.json", b"{")
    with pytest.raises(RepositoryError, match="already"):
        Repository.create(store)
    assert store.get("convault.json") == b"{"


def test_of_two_creators_one_succeeds(store: Store) -> None:
    barrier = Barrier(8)

    def create(_: int) -> UUID | None:
        barrier.wait()
        try:
            return Repository.create(store).repository_id
        except RepositoryError:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [found for found in pool.map(create, range(8)) if found is not None]
    assert made == [Repository.open(store).repository_id]


def test_a_folder_that_is_no_repository_says_what_to_do(store: Store) -> None:
    with pytest.raises(RepositoryError, match=r"is not a repository.*mount it.*convault init"):
        Repository.open(store)
    assert list(store.list()) == []


def test_another_repository_is_refused(store: Store) -> None:
    made = Repository.create(store)
    expected = uuid4()
    with pytest.raises(RepositoryError) as caught:
        Repository.open(store, expected)
    assert str(made.repository_id) in caught.value.message
    assert str(expected) in caught.value.message
    assert "convault init --new-repository" in caught.value.message
    assert caught.value.ids["expected"] == str(expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(format=2), "has format 2, this version reads 1: upgrade"),
        (lambda c: c.update(format=2, unheard_of=2), "upgrade"),
        (lambda c: c.update(features=["sharded"]), r"does not know \('sharded'\): upgrade"),
        (lambda c: c.update(format=-1), "damaged"),
        (lambda c: c.update(format="0"), "damaged"),
        (lambda c: c.update(format=True), "damaged"),
        (lambda c: c.pop("format"), "damaged"),
        (lambda c: c.pop("repository_id"), "damaged"),
        (lambda c: c.update(repository_id="x"), "damaged"),
        (lambda c: c.update(features=1), "damaged"),
        (lambda c: c.update(created_at="2026-01-01T00:00:00"), "damaged"),
    ],
)
def test_a_marker_that_cannot_be_read_is_refused(
    change: Callable[[dict[str, Any]], object], says: str
) -> None:
    made = new_repository()
    content = json.loads(made.store.get("convault.json"))
    change(content)
    store = ObjectStore(MemoryStore(), "memory://other")
    store.put("convault.json", json.dumps(content).encode())
    with pytest.raises(RepositoryError, match=says):
        Repository.open(store)


def of_format_0(store: Store) -> Repository:
    """A repository as version 0.1.0 made it."""
    made = Repository.create(store)
    content = json.loads(store.get("convault.json"))
    del content["features"]
    store.replace("convault.json", json.dumps(content | {"format": 0}).encode())
    return made


def test_a_repository_of_format_0_is_read_and_then_upgraded(store: Store) -> None:
    made = of_format_0(store)
    backup = new_backup(made).model_copy(update={"format": 0})
    made.put_manifest(backup)
    stored = made.manifest_bytes(BACKUP)
    old = Repository.open(store)
    assert old.manifest(BACKUP) == backup
    with pytest.raises(RepositoryError, match=r"format 0.*convault init.*format 1"):
        old.require_current()
    assert old.upgrade()
    assert not old.upgrade()
    old.require_current()
    new = Repository.open(store, made.repository_id)
    new.require_current()
    assert not new.upgrade()
    assert (new.installation_id, new.created_at) == (made.installation_id, made.created_at)
    assert new.manifest_bytes(BACKUP) == stored
    assert new.manifest(BACKUP).format == 0


def test_an_interrupted_upgrade_leaves_a_marker_that_is_read(store: Store) -> None:
    of_format_0(store)
    before = store.get("convault.json")
    always = Plan(Fault.FAIL, operations={"replace"}, calls=lambda call: True)
    repository = Repository.open(FaultyStore(store, always))
    with pytest.raises(StoreUnavailable):
        repository.upgrade()
    assert store.get("convault.json") == before


def test_fields_of_the_marker_that_are_not_known_are_passed_over() -> None:
    made = new_repository()
    content = json.loads(made.store.get("convault.json"))
    made.store.replace("convault.json", json.dumps(content | {"more": [1]}).encode())
    assert Repository.open(made.store).repository_id == made.repository_id


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000])
def test_a_marker_that_is_no_json_object_is_refused(store: Store, data: bytes) -> None:
    store.put("convault.json", data)
    with pytest.raises(RepositoryError, match="damaged"):
        Repository.open(store)


def test_keys() -> None:
    repository = new_repository()
    assert repository.part_key(MESSAGES, SHA, ".ndjson.zst") == f"data/messages/{SHA}.ndjson.zst"
    other = TableName("Support", "Ação")
    key = f"data/=53upport/=41=c3=a7=c3=a3o/{SHA}.ndjson"
    assert repository.part_key(other, SHA, ".ndjson") == key
    assert repository.manifest_key(BACKUP) == f"backups/{BACKUP}/datapackage.json"
    assert repository.member_key(BACKUP, "schema.sql") == f"backups/{BACKUP}/schema.sql"


@pytest.mark.parametrize(
    ("sha", "suffix"),
    [(SHA[1:], ".ndjson"), (SHA.upper(), ".ndjson"), (SHA, "/../x"), (SHA, ""), (SHA, ".zst")],
)
def test_no_key_for_what_is_no_part(sha: str, suffix: str) -> None:
    with pytest.raises(ValueError, match="not "):
        new_repository().part_key(MESSAGES, sha, suffix)


@pytest.mark.parametrize("path", ["datapackage.json", "../x", "", "readme.txt", "SHA256SUMS"])
def test_no_key_for_what_is_no_member(path: str) -> None:
    with pytest.raises(ValueError, match="beside a manifest"):
        new_repository().member_key(BACKUP, path)


def test_a_backup_exists_when_its_manifest_does(store: Store) -> None:
    repository = Repository.create(store)
    manifest = new_backup(repository)
    assert repository.backup_ids() == []
    with pytest.raises(NotFoundError, match="convault list"):
        repository.manifest(BACKUP)
    repository.put_manifest(manifest)
    assert repository.backup_ids() == [BACKUP]
    assert repository.manifest(BACKUP) == manifest
    assert repository.manifest_bytes(BACKUP) == manifest.to_bytes()
    assert store.get(f"backups/{BACKUP}/datapackage.json") == manifest.to_bytes()


def test_only_keys_of_manifests_name_backups() -> None:
    repository = new_repository()
    second = UUID("0c0ffee0-0000-4000-8000-000000000000")
    for key in (
        f"backups/{BACKUP}/datapackage.json",
        f"backups/{second}/datapackage.json",
        f"backups/{uuid4()}/schema.sql",
        f"backups/{uuid4()}/old/datapackage.json",
        f"backups/{str(uuid4()).upper()}/datapackage.json",
        "backups/------------------------------------/datapackage.json",
        "backups/datapackage.json",
        f"other/{uuid4()}/datapackage.json",
    ):
        repository.store.put(key, b"")
    assert repository.backup_ids() == [second, BACKUP]


def test_a_manifest_may_be_put_again_but_not_changed(store: Store) -> None:
    repository = Repository.create(store)
    manifest = new_backup(repository)
    repository.put_manifest(manifest)
    repository.put_manifest(manifest)
    same_size = manifest.model_copy(update={"parent_id": uuid4()})
    repository_2 = Repository.open(store)
    repository_2.put_manifest(manifest)
    for other in (
        same_size,
        manifest.model_copy(update={"options": {"compressionLevel": 9}}),
        manifest.model_copy(update={"options": {**manifest.options, "compressionLevel": 4}}),
    ):
        with pytest.raises(ObjectConflict, match="already has another manifest") as caught:
            repository_2.put_manifest(other)
        assert caught.value.ids["backup"] == str(BACKUP)
    assert repository.manifest(BACKUP) == manifest


def test_a_lost_answer_to_the_manifest_is_got_over_by_putting_it_again() -> None:
    inner = new_repository()
    manifest = new_backup(inner)
    repository = Repository.open(FaultyStore(inner.store, loses_answers()))
    for _ in range(2):  # the first flush loses its answer, and then the put
        with pytest.raises(StoreUnavailable):
            repository.put_manifest(manifest)
    assert inner.backup_ids() == [BACKUP]
    repository.put_manifest(manifest)
    assert inner.manifest(BACKUP) == manifest


def test_everything_is_flushed_before_the_manifest_and_after_it() -> None:
    calls: list[str] = []

    class Watched(ObjectStore):
        def put(self, key: str, data: bytes) -> bool:
            calls.append(f"put {key.rpartition('/')[2]}")
            return super().put(key, data)

        def flush(self) -> None:
            calls.append("flush")

    repository = new_repository(Watched(MemoryStore(), "memory://watched"))
    manifest = new_backup(repository)
    calls.clear()
    repository.put_manifest(manifest)
    assert calls == ["flush", "put datapackage.json", "flush"]


def test_a_manifest_in_the_wrong_place_is_refused() -> None:
    repository, other = new_repository(), new_repository()
    foreign = new_backup(other)
    with pytest.raises(RepositoryError, match="belongs to backup"):
        repository.put_manifest(foreign)
    repository.store.put(repository.manifest_key(BACKUP), foreign.to_bytes())
    with pytest.raises(RepositoryError, match="copied or renamed"):
        repository.manifest(BACKUP)
    elsewhere = uuid4()
    repository.store.put(repository.manifest_key(elsewhere), new_backup(repository).to_bytes())
    with pytest.raises(RepositoryError, match="copied or renamed"):
        repository.manifest(elsewhere)


def test_a_member_of_an_attempt_that_failed_is_replaced(store: Store) -> None:
    repository = Repository.create(store)
    repository.put_member(BACKUP, "schema.sql", b"SELECT 1")
    for data in (b"SELECT 2", b"SELECT 12345", b"SELECT 12345"):
        entry = repository.put_member(BACKUP, "schema.sql", data)
        assert store.get(entry.key) == data
        assert entry.bytes == len(data)


def test_a_member_of_a_complete_backup_is_not(store: Store) -> None:
    repository = Repository.create(store)
    manifest = new_backup(repository)
    repository.put_manifest(manifest)
    schema = next(member for member in manifest.members if member.path == "schema.sql")
    before = store.get(schema.key)
    assert repository.put_member(BACKUP, "schema.sql", before) == schema
    with pytest.raises(RepositoryError, match="cannot be changed"):
        repository.put_member(BACKUP, "schema.sql", bytes(len(before)))
    assert store.get(schema.key) == before


class _Told:
    """A store that tells which manifests were read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.read: list[str] = []

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        self.read.append(key)
        return self._store.stream(key, start, end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize(("at_once", "most"), [(1 << 25, 20), (1, 1)])
def test_large_manifests_are_not_read_long_before_they_are_wanted(
    store: Store, monkeypatch: pytest.MonkeyPatch, at_once: int, most: int
) -> None:
    """Thirty backups of 100,000 parts would be 10 GB, were all of them read ahead."""
    monkeypatch.setattr("convault.repository._READ_BYTES", at_once)
    repository = new_repository(store)
    ids = sorted(UUID(int=number) for number in range(1, 21))
    for backup_id in ids:
        repository.put_manifest(
            new_backup(repository, {CONVERSATIONS: [rows(0, 3)]}, backup_id=backup_id)
        )
    told = _Told(store)
    seen = []
    for backup_id, manifest in repository.through(cast(Store, told)).manifests():
        assert isinstance(manifest, Manifest)
        assert manifest.backup_id == backup_id
        seen.append(backup_id)
        assert len(told.read) <= len(seen) - 1 + most
    assert seen == ids
    assert len(told.read) == len(ids)


def test_manifests_with_files_are_read_with_all_others() -> None:
    repository = new_repository()
    files = {("media", "a.jpg"): b"one", ("media", "b.jpg"): b"two"}
    made = {
        backup_id: new_backup(repository, backup_id=backup_id, files=files)
        for backup_id in (UUID(int=1), UUID(int=2))
    }
    for manifest in made.values():
        assert manifest.files
        repository.put_manifest(manifest)
    assert dict(repository.manifests()) == made
