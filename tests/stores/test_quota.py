"""A store that takes no more than it may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from convault.errors import ObjectMissing, QuotaExceeded, StoreUnavailable
from convault.stores import open_store
from convault.stores.base import Store
from convault.stores.quota import QuotaStore
from tests.faulty import Fault, FaultyStore, Plan
from tests.stores.suite import StoreSuite


class TestRoomy(StoreSuite):
    """With room enough it is the store itself."""

    # What these look at is handed on as it is.
    test_any_key_that_is_valid_names_an_object = None
    test_streams_any_range = None
    test_refuses_what_is_no_key = None
    test_refuses_what_is_no_folder = None
    test_lists_to_the_end = None

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return QuotaStore(open_store((tmp_path / "store").as_uri(), create=True), 10**12)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    store = open_store((tmp_path / "store").as_uri(), create=True)
    store.put("there", bytes(40))
    return store


def test_what_does_not_fit_is_not_sent(folder: Store) -> None:
    store = QuotaStore(folder, 100)
    assert store.put("a", bytes(60)) is True
    with pytest.raises(QuotaExceeded, match="holds 100 bytes, and CONVAULT_STORE_QUOTA") as caught:
        store.put("b", b"1")
    assert not caught.value.transient
    assert caught.value.exit_code == 96
    with pytest.raises(ObjectMissing):
        folder.head("b")


def test_what_is_there_already_takes_no_room(folder: Store) -> None:
    store = QuotaStore(folder, 50)
    assert store.put("there", bytes(40)) is False
    assert store.put("a", bytes(10)) is True
    assert store.put("a", bytes(10)) is False
    with pytest.raises(QuotaExceeded):
        store.put("b", bytes(1))


def test_what_is_deleted_or_smaller_frees_room(folder: Store) -> None:
    store = QuotaStore(folder, 50)
    store.delete("there")
    assert store.put("a", bytes(50)) is True
    with pytest.raises(QuotaExceeded):
        store.replace("a", bytes(51))
    assert store.head("a").size == 50
    store.replace("a", bytes(20))
    assert store.put("b", bytes(30)) is True


def test_a_full_store_is_refused_at_once(folder: Store) -> None:
    with pytest.raises(QuotaExceeded, match="Nothing was backed up"):
        QuotaStore(folder, 40)


def test_an_attempt_that_failed_counts_once(folder: Store) -> None:
    store = QuotaStore(
        FaultyStore(folder, Plan(Fault.FAIL, operations={"put"}, calls=lambda call: call == 0)), 100
    )
    with pytest.raises(StoreUnavailable):
        store.put("a", bytes(60))
    assert store.put("a", bytes(60)) is True
    with pytest.raises(QuotaExceeded):
        store.put("b", bytes(1))
