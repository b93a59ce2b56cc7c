"""A part that is damaged in the store is found when the same rows are backed up again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Barrier

import pytest

from convault.errors import StoreUnavailable
from convault.repository import Repository, Stored
from convault.stores.folder import FolderStore
from tests.handmade import MESSAGES, new_repository

DATA = b"what was said" * 1000
DIGEST = sha256(DATA).hexdigest()
DAMAGES = {
    "a byte": DATA[:500] + b"#" + DATA[501:],
    "cut off": DATA[:500],
    "empty": b"",
    "longer": DATA + b"x",
}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return new_repository(FolderStore.create(tmp_path / "store", "file:///store"))


@pytest.fixture
def key(repository: Repository) -> str:
    return repository.part_key(MESSAGES, DIGEST, ".ndjson")


@pytest.fixture
def file(tmp_path: Path, key: str) -> Path:
    return tmp_path / "store" / key


def aside(repository: Repository, key: str) -> dict[str, bytes]:
    """What is kept of damaged objects, by what its key ends with."""
    found = repository.store.list("damaged/")
    return {i.key.removeprefix(f"damaged/{key}/"): repository.store.get(i.key) for i in found}


def test_what_is_sound_is_found(repository: Repository, key: str) -> None:
    assert repository.put_part(key, DIGEST, DATA) is Stored.WRITTEN
    assert repository.put_part(key, DIGEST, DATA) is Stored.FOUND
    assert repository.store.get(key) == DATA
    assert aside(repository, key) == {}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_repaired_and_kept(
    repository: Repository, key: str, file: Path, damage: bytes
) -> None:
    repository.put_part(key, DIGEST, DATA)
    file.write_bytes(damage)
    assert repository.put_part(key, DIGEST, DATA) is Stored.REPAIRED
    assert repository.store.get(key) == DATA
    assert aside(repository, key) == {sha256(damage).hexdigest(): damage}
    assert file.stat().st_mode & 0o777 == 0o600
    assert repository.put_part(key, DIGEST, DATA) is Stored.FOUND


def test_every_damage_of_one_object_is_kept(repository: Repository, key: str, file: Path) -> None:
    repository.put_part(key, DIGEST, DATA)
    for damage in (*DAMAGES.values(), DAMAGES["a byte"]):
        file.write_bytes(damage)
        assert repository.put_part(key, DIGEST, DATA) is Stored.REPAIRED
    assert set(aside(repository, key).values()) == set(DAMAGES.values())


def test_nothing_is_replaced_by_bytes_of_another_digest(
    repository: Repository, key: str, file: Path
) -> None:
    repository.put_part(key, DIGEST, DATA)
    file.write_bytes(DAMAGES["a byte"])
    with pytest.raises(ValueError, match="do not have its digest"):
        repository.put_part(key, DIGEST, b"another")
    assert file.read_bytes() == DAMAGES["a byte"]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_of_writers_at_once_one_repairs_at_least_and_all_find_it_sound(
    repository: Repository, key: str, file: Path, damage: bytes
) -> None:
    repository.put_part(key, DIGEST, DATA)
    for _ in range(10):
        file.write_bytes(damage)
        barrier = Barrier(4)

        def write(_: int, barrier: Barrier = barrier) -> Stored:
            barrier.wait()
            return repository.put_part(key, DIGEST, DATA)

        with ThreadPoolExecutor(4) as pool:
            done = set(pool.map(write, range(4)))
        assert Stored.REPAIRED in done <= {Stored.REPAIRED, Stored.FOUND}
        assert repository.store.get(key) == DATA
        assert aside(repository, key) == {sha256(damage).hexdigest(): damage}


class _Replaced(FolderStore):
    """Another writer repairs the object while this one reads it; `turn` says which reading."""

    turn = 0

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        pieces = super().stream(key, start, end)
        self.turn -= 1
        if self.turn == 0:
            self.replace(key, DATA)
        return pieces


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_another_writer_repairs_meanwhile_is_sound(tmp_path: Path, damage: str) -> None:
    store = _Replaced.create(tmp_path / "store", "file:///store")
    assert isinstance(store, _Replaced)
    repository = new_repository(store)
    key = repository.part_key(MESSAGES, DIGEST, ".ndjson")
    repository.put_part(key, DIGEST, DATA)
    (tmp_path / "store" / key).write_bytes(DAMAGES[damage])
    store.turn = 1
    repository.put_part(key, DIGEST, DATA)
    assert store.get(key) == DATA
    assert set(aside(repository, key).values()) <= {DAMAGES[damage]}


class _Killed(FolderStore):
    def replace(self, key: str, data: bytes) -> None:
        raise StoreUnavailable("killed before it was replaced")


def test_a_repair_that_was_killed_is_done_by_the_next_run(tmp_path: Path) -> None:
    store = _Killed.create(tmp_path / "store", "file:///store")
    repository = new_repository(store)
    key = repository.part_key(MESSAGES, DIGEST, ".ndjson")
    repository.put_part(key, DIGEST, DATA)
    damage = DAMAGES["cut off"]
    (tmp_path / "store" / key).write_bytes(damage)
    with pytest.raises(StoreUnavailable):
        repository.put_part(key, DIGEST, DATA)
    assert store.get(key) == damage
    repository.store = FolderStore(tmp_path / "store", "file:///store")
    assert repository.put_part(key, DIGEST, DATA) is Stored.REPAIRED
    assert aside(repository, key) == {sha256(damage).hexdigest(): damage}
