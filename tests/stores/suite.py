"""What `convault.stores.base.Store` promises, as tests that every implementation must pass.

A subclass gives the fixture `store`, an empty store; pytest collects the subclass alone.
"""

from __future__ import annotations

import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convault.errors import ObjectConflict, ObjectMissing, StoreError
from convault.stores.base import Store

BAD_KEYS = ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".", "a\nb", "a\0b", "á", "a\\b",
            "a%2eb", "a#1", "a" * 2000]  # fmt: skip
BAD_PREFIXES = ["a", "/", "/a/", "../", "a/../", "a//", "\n/"]

_SEGMENT = st.text("abcXYZ019=_-. ", min_size=1, max_size=20).filter(lambda s: s.strip(". ") == s)
KEYS = st.lists(_SEGMENT, min_size=1, max_size=4).map("/".join)

# Functions within a test: Hypothesis keeps a memory per function, which subclasses would share.
_SHARED = settings(max_examples=30)


class StoreSuite:
    answers_are_exact = True
    """False where an answer may be lost: then `put` may say False although it wrote the object"""
    creates_at_once = True
    """False where the server does not tell of two writers of one key who came first: then the last
    one wins, still with all of its bytes"""

    keys = KEYS
    """what names objects; narrower where a server takes fewer names"""

    def put_empty(self, store: Store, key: str) -> None:
        """How 1,100 objects are made; for a server to which three requests each are too slow."""
        store.put(key, b"")

    def test_implements_the_protocol(self, store: Store) -> None:
        assert isinstance(store, Store)
        assert "://" in store.url

    @pytest.mark.parametrize("size", [0, 1, 5000, 9 * 1024 * 1024 + 1])
    def test_gives_back_what_was_put(self, store: Store, size: int) -> None:
        data = random.Random(size).randbytes(size)
        assert store.put("data/object", data) is True or not self.answers_are_exact
        assert store.get("data/object") == data
        pieces = list(store.stream("data/object"))
        assert b"".join(pieces) == data
        assert max(map(len, pieces), default=0) <= 4 * 1024 * 1024
        assert store.head("data/object").size == size

    @pytest.mark.parametrize("size", [0, 9 * 1024 * 1024 + 1])
    def test_gives_back_the_file_that_was_put(self, store: Store, size: int) -> None:
        data = random.Random(size).randbytes(size)
        with tempfile.TemporaryFile() as file:
            file.write(data)  # its place is at the end now
            assert store.put_file("files/object", file) is True or not self.answers_are_exact
            assert store.get("files/object") == data
            assert store.put_file("files/object", file) is False
            file.write(b"more")
            with pytest.raises(ObjectConflict):
                store.put_file("files/object", file)
        assert store.get("files/object") == data
        assert [info.key for info in store.list()] == ["files/object"]

    def test_any_key_that_is_valid_names_an_object(self, store: Store) -> None:
        folders = count()

        @_SHARED
        @given(name=self.keys)
        def check(name: str) -> None:
            key = f"{next(folders)}/{name}"
            store.put(key, key.encode())
            assert store.get(key) == key.encode()
            assert [info.key for info in store.list()] == [key]
            store.delete(key)
            assert list(store.list()) == []

        check()

    def test_put_again_is_no_error_and_changes_nothing(self, store: Store) -> None:
        store.put("a/b", b"one")
        assert store.put("a/b", b"one") is False
        assert store.put("a/b", b"two") is False, "only sizes are compared"
        assert store.get("a/b") == b"one"

    @pytest.mark.parametrize("other", [b"", b"longer than that"])
    def test_another_size_is_a_conflict(self, store: Store, other: bytes) -> None:
        store.put("a/b", b"one")
        with pytest.raises(ObjectConflict) as caught:
            store.put("a/b", other)
        assert caught.value.ids["key"] == "a/b"
        assert not caught.value.transient
        assert store.get("a/b") == b"one"

    def test_an_absent_object_is_missing(self, store: Store) -> None:
        store.put("a/b/c", b"")
        for key in ("nothing", "a/b", "a/b/c2", "a"):
            with pytest.raises(ObjectMissing) as caught:
                store.get(key)
            assert caught.value.ids["key"] == key
            with pytest.raises(ObjectMissing):
                store.head(key)
            with pytest.raises(ObjectMissing):
                list(store.stream(key, 0, 1))

    def test_streams_any_range(self, store: Store) -> None:
        data = random.Random(7).randbytes(1000)
        store.put("object", data)

        @_SHARED
        @given(bounds=st.tuples(st.integers(0, 1000), st.integers(0, 1000)))
        def check(bounds: tuple[int, int]) -> None:
            start, end = sorted(bounds)
            assert b"".join(store.stream("object", start, end)) == data[start:end]
            assert b"".join(store.stream("object", start)) == data[start:]

        check()

    def test_streams_ranges_across_pieces(self, store: Store) -> None:
        data = random.Random(8).randbytes(9 * 1024 * 1024)
        store.put("object", data)
        for start, end in [(1, len(data)), (4 * 1024**2 - 1, 8 * 1024**2 + 1), (5, 5)]:
            assert b"".join(store.stream("object", start, end)) == data[start:end]

    @pytest.mark.parametrize(("start", "end"), [(0, 6), (6, 7), (5, 6), (100, 200)])
    def test_a_range_past_the_end_is_an_error(self, store: Store, start: int, end: int) -> None:
        store.put("object", b"12345")
        with pytest.raises(StoreError):
            list(store.stream("object", start, end))

    @pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 2), (0, -1)])
    def test_what_is_no_range_is_a_value_error(self, store: Store, start: int, end: int) -> None:
        store.put("object", b"12345")
        with pytest.raises(ValueError, match="range"):
            list(store.stream("object", start, end))

    def test_head_tells_the_time(self, store: Store) -> None:
        store.put("object", b"1")
        assert abs(store.head("object").modified - datetime.now(UTC)) < timedelta(minutes=1)

    def test_lists_a_folder_and_nothing_beside_it(self, store: Store) -> None:
        for key in ("a/b/1", "a/b/c/2", "a/bc/3", "a/4", "5"):
            store.put(key, key.encode())
        everything = {"a/b/1", "a/b/c/2", "a/bc/3", "a/4", "5"}
        assert {info.key for info in store.list()} == everything
        assert {info.key for info in store.list("a/")} == everything - {"5"}
        assert {info.key for info in store.list("a/b/")} == {"a/b/1", "a/b/c/2"}
        assert list(store.list("nothing/")) == []
        assert all(info.size == len(info.key) for info in store.list())

    def test_lists_to_the_end(self, store: Store) -> None:
        keys = {f"many/{number:04d}" for number in range(1100)}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: self.put_empty(store, key), keys))
        assert sorted(info.key for info in store.list("many/")) == sorted(keys)

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_refuses_what_is_no_key(self, store: Store, key: str) -> None:
        for call in (store.get, store.head, store.stream, store.delete):
            with pytest.raises(ValueError, match="not a key"):
                call(key)
        with pytest.raises(ValueError, match="not a key"):
            store.put(key, b"")
        with pytest.raises(ValueError, match="not a key"):
            store.replace(key, b"")
        assert list(store.list()) == []

    @pytest.mark.parametrize("prefix", BAD_PREFIXES)
    def test_refuses_what_is_no_folder(self, store: Store, prefix: str) -> None:
        with pytest.raises(ValueError, match="not a folder"):
            list(store.list(prefix))

    def test_deletes(self, store: Store) -> None:
        store.put("a/b", b"one")
        store.delete("a/b")
        store.delete("a/b")
        store.delete("never/there")
        with pytest.raises(ObjectMissing):
            store.get("a/b")
        assert store.put("a/b", b"another") is True or not self.answers_are_exact
        assert store.get("a/b") == b"another"

    @pytest.mark.parametrize("other", [b"two", b"", b"longer than that"])
    def test_replaces(self, store: Store, other: bytes) -> None:
        store.put("a/b", b"one")
        for _ in range(2):
            store.replace("a/b", other)
            assert store.get("a/b") == other
        store.replace("new/folder/object", other)
        assert store.get("new/folder/object") == other
        sizes = {info.key: info.size for info in store.list()}
        assert sizes == {"a/b": len(other), "new/folder/object": len(other)}
        assert store.put("a/b", other) is False

    def test_whoever_reads_what_is_replaced_finds_one_or_the_other(self, store: Store) -> None:
        contents = {bytes([writer]) * 100_000 for writer in range(4)}
        store.put("a/b", min(contents))
        barrier = Barrier(8)

        def write(data: bytes) -> None:
            barrier.wait()
            for _ in range(10):
                store.replace("a/b", data)

        def read(_: int) -> set[bytes]:
            barrier.wait()
            return {store.get("a/b") for _ in range(30)}

        with ThreadPoolExecutor(8) as pool:
            writing = [pool.submit(write, data) for data in contents]
            found = set().union(*pool.map(read, range(4)))
            for writer in writing:
                writer.result()
        assert found <= contents
        assert store.get("a/b") in contents
        assert [info.key for info in store.list()] == ["a/b"]

    def test_flush_may_be_repeated(self, store: Store) -> None:
        store.flush()
        store.put("a/b", b"one")
        store.flush()
        store.flush()
        assert store.get("a/b") == b"one"

    def test_of_eight_writers_of_one_key_one_wrote_it(self, store: Store) -> None:
        for number in range(10):
            barrier = Barrier(8)

            def write(
                writer: int, key: str = f"new{number}/folder/object", barrier: Barrier = barrier
            ) -> bool:
                barrier.wait()
                return store.put(key, bytes([writer]) * 100_000)

            with ThreadPoolExecutor(8) as pool:
                wrote = list(pool.map(write, range(8)))
            stored = store.get(f"new{number}/folder/object")
            assert stored == bytes([stored[0]]) * 100_000
            if not self.creates_at_once:
                assert any(wrote)
            elif self.answers_are_exact:
                assert sum(wrote) == 1
                assert wrote[stored[0]]
            else:
                assert sum(wrote) <= 1

    def test_eight_writers_of_other_keys_share_new_folders(self, store: Store) -> None:
        keys = [f"new/{number % 3}/deep/{number}" for number in range(48)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, key.encode()), keys))
        assert {info.key: store.get(info.key) for info in store.list()} == {
            key: key.encode() for key in keys
        }
