"""The store in Supabase Storage, on a real server: the suite, and what only this store has."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import jwt
import pytest

from convault.errors import ConfigurationError, ObjectConflict, ObjectMissing, StoreError
from convault.installation import initialise, open_installation
from convault.settings import Settings
from convault.stores import open_store
from convault.stores.base import Store
from convault.stores.supabase.store import LOOK_FIRST_BYTES, SupabaseStore
from tests.stores.suite import KEYS, StoreSuite
from tests.supabase_stack import SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")

MEBIBYTE = 1024 * 1024
CALLS: dict[str, Callable[[Store], Any]] = {
    "put": lambda store: store.put("new", b"12345"),
    "replace": lambda store: store.replace("object", b"12345"),
    "get": lambda store: store.get("object"),
    "stream": lambda store: list(store.stream("object", 1, 2)),
    "head": lambda store: store.head("object"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("object"),
}


def use(stack: SupabaseStack, monkeypatch: pytest.MonkeyPatch, url: str, key: str) -> None:
    monkeypatch.setenv("SUPABASE_URL", url)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", key)


class OnLite(StoreSuite):
    # Supabase keeps each version of an object in a file of its own and lets its database decide
    # which counts. lite has the decision, but one file: who replaces, or comes second, writes over
    # it. So these two cannot hold here; that the server decides is tested below.
    test_whoever_reads_what_is_replaced_finds_one_or_the_other = None
    test_of_eight_writers_of_one_key_one_wrote_it = None
    keys = KEYS.filter(lambda key: ".." not in key)  # which Supabase takes inside a name


class TestLite(OnLite):
    @pytest.fixture
    def store(self, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch) -> Store:
        use(supabase, monkeypatch, supabase.url, supabase.secret_key)
        return open_store(f"supabase://{supabase.new_bucket()}/back/ups")


class TestWithUploadsAndListingsOfSupabase(OnLite):
    # Ranges are answered with 206 here, and with 200 above; these neither send, list nor read
    # anything that the class before does not.
    test_any_key_that_is_valid_names_an_object = None
    test_what_is_no_range_is_a_value_error = None
    test_refuses_what_is_no_key = None
    test_refuses_what_is_no_folder = None

    @pytest.fixture
    def store(self, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch) -> Store:
        use(supabase, monkeypatch, supabase.full_url, supabase.legacy_key())
        return open_store(f"supabase://{supabase.new_bucket()}/back/ups")


@pytest.fixture
def bucket(supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty private bucket; the environment opens it, with resumable uploads."""
    use(supabase, monkeypatch, supabase.full_url, supabase.secret_key)
    return supabase.new_bucket()


def test_the_server_lets_one_of_eight_create(bucket: str) -> None:
    store = open_store(f"supabase://{bucket}")
    barrier = Barrier(8)

    def write(writer: int) -> bool:
        barrier.wait()
        try:
            return store.put("new/object", bytes([writer]) * 50_000)
        except ObjectConflict:  # lite shows for a moment what the loser writes
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(8))) == 1


@pytest.mark.parametrize("size", [9, 100_000, 7 * MEBIBYTE])
def test_the_server_decides_between_two_that_saw_nothing(
    size: int, bucket: str, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"supabase://{bucket}/in")
    look, looks = SupabaseStore._size, []

    def size_of(self: SupabaseStore, key: str) -> int | None:
        looks.append(key)
        if len(looks) == 1 and size >= LOOK_FIRST_BYTES:
            put_by_another(supabase, bucket, "in/object", bytes(size))
            return None
        return look(self, key)

    if size < LOOK_FIRST_BYTES:
        put_by_another(supabase, bucket, "in/object", bytes(size))
    monkeypatch.setattr(SupabaseStore, "_size", size_of)
    assert store.put("object", b"1" * size) is False
    assert store.get("object") == bytes(size)


def test_folders_of_a_bucket_are_stores_of_their_own(bucket: str) -> None:
    urls = [f"supabase://{bucket}/{prefix}" for prefix in ("in", "in/side", "inn", "a=b%20c")]
    stores = [open_store(url) for url in urls]
    for store in stores:
        assert store.put("object", store.url.encode()) is True
    for store in stores:
        assert open_store(store.url).get("object") == store.url.encode()
    assert {info.key for info in stores[0].list()} == {"object", "side/object"}
    assert {info.key for info in stores[1].list()} == {"object"}


def test_what_is_no_key_of_ours_is_not_listed(bucket: str, supabase: SupabaseStack) -> None:
    for key in ("in/object", "in/a*b", "out/object"):
        put_by_another(supabase, bucket, key, b"1")
    assert [info.key for info in open_store(f"supabase://{bucket}/in").list()] == ["object"]


@pytest.mark.parametrize("call", CALLS)
def test_a_bucket_that_is_not_there_is_no_missing_object(call: str, bucket: str) -> None:
    with pytest.raises(StoreError, match="no such bucket") as caught:
        CALLS[call](open_store(f"supabase://{bucket}-not/in"))
    assert not isinstance(caught.value, ObjectMissing)
    assert not caught.value.transient


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_key_is_no_empty_store(
    call: str, bucket: str, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Supabase answers a wrong key with an empty listing, not with an error."""
    wrong = f"sb_secret_{'hunter2' * 4}"
    forged = jwt.encode({"role": "service_role"}, "hunter2" * 6, algorithm="HS256")
    for key in (wrong, forged):
        monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", key)
        with pytest.raises(StoreError, match="SUPABASE_SERVICE_ROLE_KEY") as caught:
            CALLS[call](open_store(f"supabase://{bucket}"))
        assert not caught.value.transient
        assert "hunter2" not in caught.value.message
        assert key not in caught.value.message
        assert key not in repr(open_store(f"supabase://{bucket}"))


@pytest.mark.parametrize("call", CALLS)
def test_a_public_bucket_is_refused(
    call: str, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(supabase, monkeypatch, supabase.url, supabase.secret_key)
    bucket = supabase.new_bucket(public=True)
    with pytest.raises(ConfigurationError, match="is public"):
        CALLS[call](open_store(f"supabase://{bucket}"))
    with pytest.raises(ConfigurationError, match="is public"):
        open_store(f"supabase://{bucket}", create=True)


def test_init_makes_a_private_bucket_with_the_limit_of_the_plan(
    supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(supabase, monkeypatch, supabase.url, supabase.legacy_key())
    for limit, bucket in ((None, "made-free"), ("1000000", "made-small")):
        if limit:
            monkeypatch.setenv("CONVAULT_SUPABASE_FILE_LIMIT", limit)
        for _ in range(2):
            assert open_store(f"supabase://{bucket}/in", create=True).put("object", b"1") in (
                True,
                False,
            )
        with supabase.client() as client:
            made = client.get(f"/storage/v1/bucket/{bucket}").json()
        assert made["public"] is False
        assert made["file_size_limit"] == int(limit or 52428800)


@pytest.mark.parametrize("size", [2_000_000, 7 * MEBIBYTE])
def test_a_file_beyond_the_limit_of_the_plan_is_told(
    size: int, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(supabase, monkeypatch, supabase.full_url, supabase.secret_key)
    bucket = supabase.new_bucket(file_size_limit=1_000_000)
    for limit_is_known in (True, False):
        store = open_store(f"supabase://{bucket}")
        if not limit_is_known:  # as where the project's own limit is the lower one
            monkeypatch.setattr(SupabaseStore, "_limit", lambda self, told: None)
        for call in (store.put, store.replace):
            with pytest.raises(StoreError, match="50 MB on the Free plan") as caught:
                call("object", bytes(size))
            assert not caught.value.transient


def test_an_installation_lives_in_a_bucket(
    supabase: SupabaseStack, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init` makes the bucket once: what was lost is not made anew in silence."""
    use(supabase, monkeypatch, supabase.full_url, supabase.secret_key)
    settings = Settings(
        database_url=database, convault_store_url="supabase://an-installation/convault"
    )
    report = initialise(settings)
    assert report.created
    assert open_installation(settings).repository.repository_id == report.repository_id
    assert not initialise(settings).created
    lost = Settings(database_url=database, convault_store_url="supabase://not-there/convault")
    for call in (open_installation, initialise):
        with pytest.raises(StoreError, match="no such bucket"):
            call(lost)


def put_by_another(stack: SupabaseStack, bucket: str, key: str, data: bytes) -> None:
    """With a client that is not ours."""
    with stack.client() as client:
        client.post(f"/storage/v1/object/{bucket}/{key}", content=data).raise_for_status()


def test_a_range_is_all_that_is_sent(bucket: str, supabase: SupabaseStack) -> None:
    """What crosses the network for some bytes of an object: those bytes."""
    store = open_store(f"supabase://{bucket}/in")
    assert isinstance(store, SupabaseStore)
    data = bytes(range(256)) * 4096
    store.put("object", data)
    with store._api.download(
        f"/object/{bucket}/in/object", "reading", {"Range": "bytes=1000-1999"}
    ) as (answer, body):
        assert answer.status_code == 206
        assert answer.headers["Content-Range"] == f"bytes 1000-1999/{len(data)}"
        assert b"".join(body) == data[1000:2000]
    assert b"".join(store.stream("object", 1000, 2000)) == data[1000:2000]


def test_uploading_takes_no_more_memory_than_what_is_uploaded(
    bucket: str, supabase: SupabaseStack
) -> None:
    """24 MiB in one object by resumable upload, 5 MiB by a plain one: beside the bytes that the
    caller holds, no more than three pieces of 6 MiB."""
    store = open_store(f"supabase://{bucket}/in")
    store.put("before", b"connections, modules, threads" * 300_000)  # by resumable upload
    for number, mebibytes in enumerate((24, 5)):
        data = bytes([number]) * (mebibytes * MEBIBYTE)
        tracemalloc.start()
        try:
            store.put(f"object-{number}", data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 18 * MEBIBYTE, mebibytes
