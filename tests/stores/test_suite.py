"""Every store passes the suite: as it is, and behind faults that are tried again."""

from __future__ import annotations

from pathlib import Path

import pytest
from obstore.store import MemoryStore

from convault.errors import StoreUnavailable
from convault.stores.base import Store
from convault.stores.folder import FolderStore
from convault.stores.objects import ObjectStore
from tests.faulty import FaultyStore, RetryingStore, fails_always, fails_once, loses_answers
from tests.stores.suite import StoreSuite


def folder(path: Path) -> FolderStore:
    return FolderStore(path, f"file://{path}")


def memory() -> ObjectStore:
    return ObjectStore(MemoryStore(), "memory://")


class TestFolder(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return folder(tmp_path)


class TestMemory(StoreSuite):
    @pytest.fixture
    def store(self) -> Store:
        return memory()


class TestFolderThatFailsOnce(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return RetryingStore(FaultyStore(folder(tmp_path), fails_once()))


class TestFolderThatLosesAnswers(StoreSuite):
    answers_are_exact = False

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return RetryingStore(FaultyStore(folder(tmp_path), loses_answers()))


class TestMemoryThatFailsOnce(StoreSuite):
    @pytest.fixture
    def store(self) -> Store:
        return RetryingStore(FaultyStore(memory(), fails_once()))


class TestMemoryThatLosesAnswers(StoreSuite):
    answers_are_exact = False

    @pytest.fixture
    def store(self) -> Store:
        return RetryingStore(FaultyStore(memory(), loses_answers()))


def test_a_store_that_always_fails_is_not_tried_for_ever(tmp_path: Path) -> None:
    inner = folder(tmp_path)
    store = RetryingStore(FaultyStore(inner, fails_always()))
    for call in (
        lambda: store.put("a", b""),
        lambda: store.get("a"),
        lambda: store.head("a"),
        lambda: store.stream("a"),
        store.list,
        lambda: store.delete("a"),
        store.flush,
    ):
        with pytest.raises(StoreUnavailable):
            call()
    assert list(inner.list()) == []
