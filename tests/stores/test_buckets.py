"""Stores in buckets, on real servers: the suite, and what only buckets have."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import obstore
import pytest

from convault import settings
from convault.errors import ObjectConflict, ObjectMissing, StoreError, StoreUnavailable
from convault.stores import open_store
from convault.stores.base import Store
from convault.stores.bucket import BucketStore
from tests.object_servers import ObjectServer
from tests.stores.suite import StoreSuite

CALLS: dict[str, Callable[[Store], Any]] = {
    "put": lambda store: store.put("new", b"12345"),
    "get": lambda store: store.get("object"),
    "stream": lambda store: list(store.stream("object", 1, 2)),
    "head": lambda store: store.head("object"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("object"),
}


class TestMoto(StoreSuite):
    # moto looks and then stores, without a lock in between; the condition itself is tested below.
    creates_at_once = False

    def put_empty(self, store: Store, key: str) -> None:
        assert isinstance(store, BucketStore)
        obstore.put(store._backend, key, b"", mode="create")

    @pytest.fixture
    def store(self, moto: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Store:
        for name, value in moto.environment.items():
            monkeypatch.setenv(name, value)
        return open_store(moto.url(moto.new_bucket(), "back/ups"))


class TestRclone(StoreSuite):
    # rclone takes an object away for a moment while it is overwritten; a real bucket does not.
    test_whoever_reads_what_is_replaced_finds_one_or_the_other = None
    creates_at_once = False  # it ignores If-None-Match

    @pytest.fixture
    def store(self, rclone: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Store:
        for name, value in rclone.environment.items():
            monkeypatch.setenv(name, value)
        return open_store(rclone.url(rclone.new_bucket(), "back/ups"))


class TestXmlApiOfGoogle(StoreSuite):
    """No server of Google's protocol that obstore could use runs here: gcp-storage-emulator and
    fake-gcs-server take uploads through the JSON API alone. Google's XML API, which obstore speaks,
    follows S3's, so rclone answers it, but for the condition of a put and for tokens. This shows
    that `gs://` is wired up; it is not Google."""

    # rclone takes an object away for a moment while it is overwritten; a real bucket does not.
    test_whoever_reads_what_is_replaced_finds_one_or_the_other = None

    creates_at_once = False

    @pytest.fixture
    def store(
        self, open_rclone: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Store:
        account = tmp_path / "account.json"
        account.write_text(
            '{"disable_oauth": true, "gcs_base_url": "http://127.0.0.1:9", "client_email": "", '
            '"private_key": "", "private_key_id": ""}'
        )
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
        return open_store(
            f"gs://{open_rclone.new_bucket()}/back/ups?endpoint={open_rclone.endpoint}"
        )


@pytest.fixture
def made(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new bucket; the environment holds the credentials."""
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    return object_server.new_bucket()


def test_the_server_decides_between_two_that_saw_nothing(
    object_server: ObjectServer, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(object_server.url(made, "in"))
    look = BucketStore._size

    def size(self: BucketStore, key: str) -> int | None:
        seen = look(self, key)
        if seen is None:
            put_by_another(object_server, made, "in/object", b"the other")
        return seen

    monkeypatch.setattr(BucketStore, "_size", size)
    if object_server.name == "moto":
        assert store.put("object", b"our bytes") is False
        assert store.get("object") == b"the other"
    else:  # it ignores the condition: the last one wins, with all of its bytes
        assert store.put("object", b"our bytes") is True
        assert store.get("object") == b"our bytes"


def test_what_another_put_over_ours_is_found_by_its_size(
    object_server: ObjectServer, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(object_server.url(made, "in"))
    look, looks = BucketStore._size, []

    def size(self: BucketStore, key: str) -> int | None:
        looks.append(key)
        if len(looks) == 2:
            put_by_another(object_server, made, "in/object", b"longer than ours")
        return look(self, key)

    monkeypatch.setattr(BucketStore, "_size", size)
    with pytest.raises(ObjectConflict, match="somebody else"):
        store.put("object", b"our bytes")


def test_refused_as_there_and_then_gone_is_tried_again(
    moto: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where two put at once and one is answered 409 while nothing is there yet."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(moto.url(moto.new_bucket()))
    monkeypatch.setattr(BucketStore, "_create", lambda *_: False)
    with pytest.raises(StoreUnavailable, match="Try again"):
        store.put("object", b"1")


@pytest.mark.parametrize("call", CALLS)
def test_a_bucket_that_is_not_there_is_no_missing_object(
    call: str, object_server: ObjectServer, made: str
) -> None:
    store = open_store(object_server.url(f"{made}-not"))
    with pytest.raises(StoreError, match="does not exist") as caught:
        CALLS[call](store)
    assert not isinstance(caught.value, ObjectMissing)
    assert not caught.value.transient


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_told_and_not_quoted(
    call: str, wrong: str, rclone: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rclone.environment.items():
        monkeypatch.setenv(name, value)
    url = rclone.url(rclone.new_bucket())
    open_store(url).put("object", b"12345")
    monkeypatch.setenv(wrong, "hunter2")
    with pytest.raises(StoreError, match="wrong or lack a right") as caught:
        CALLS[call](open_store(url))
    assert not caught.value.transient
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.message
    for secret in ("hunter2", rclone.access_key, rclone.secret_key):
        assert secret not in caught.value.message


def test_credentials_may_stand_in_env_file(
    rclone: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{name}={value}" for name, value in rclone.environment.items()]
    settings.ENV_FILE.touch(0o600)
    settings.ENV_FILE.write_text("\n".join([*lines, f"AWS_ENDPOINT_URL={rclone.endpoint}"]))
    store = open_store(f"s3://{rclone.new_bucket()}/in")
    assert store.put("object", b"1") is True
    assert store.url.count("http") == 0


def test_the_endpoint_of_the_url_counts_before_those_of_the_environment(
    object_server: ObjectServer, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert open_store(object_server.url(made)).put("object", b"1") is True
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", object_server.endpoint)
    assert open_store(f"s3://{made}").get("object") == b"1"


def test_folders_of_a_bucket_are_stores_of_their_own(
    object_server: ObjectServer, made: str
) -> None:
    urls = [object_server.url(made, prefix) for prefix in ("in", "in/side", "inn", "a=b c")]
    stores = [open_store(url) for url in urls]
    for store in stores:
        assert store.put("object", store.url.encode()) is True
    for store in stores:
        assert open_store(store.url).get("object") == store.url.encode()
    assert {info.key for info in stores[0].list()} == {"object", "side/object"}
    assert {info.key for info in stores[1].list()} == {"object"}
    with closing(object_server.client()) as client:
        found = client.list_objects_v2(Bucket=made)["Contents"]
        assert {entry["Key"] for entry in found} == {
            "in/object", "in/side/object", "inn/object", "a=b c/object",
        }  # fmt: skip
        body = client.get_object(Bucket=made, Key="inn/object")["Body"]
        with closing(body):
            assert body.read() == stores[2].url.encode()


def test_what_is_no_key_of_ours_is_not_listed(object_server: ObjectServer, made: str) -> None:
    for key in ("in/a%b", "in/ação", "in/object"):
        put_by_another(object_server, made, key, b"1")
    store = open_store(object_server.url(made, "in"))
    assert [info.key for info in store.list()] == ["object"]


def put_by_another(server: ObjectServer, bucket: str, key: str, data: bytes) -> None:
    """With a client that is not ours, and no condition."""
    with closing(server.client()) as client:
        client.put_object(Bucket=bucket, Key=key, Body=data)
