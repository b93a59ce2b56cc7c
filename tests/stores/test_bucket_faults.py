"""Buckets behind a bad network: what can be tried again is, and no byte is ever wrong."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from convault.errors import StoreError, StoreUnavailable
from convault.stores import open_store
from convault.stores.bucket import BucketStore
from convault.stores.buckets import Patience, open_bucket
from tests.object_servers import ObjectServer
from tests.patience import awaited
from tests.stores.between import HANGING, HASTY, Between, Fault, Request, between

DATA = random.Random(5).randbytes(3_000_000)
CALLS: dict[str, Callable[[BucketStore], Any]] = {
    "put": lambda store: store.put("new", b"12345"),
    "get": lambda store: store.get("object"),
    "stream": lambda store: b"".join(store.stream("object", 1000, 2_000_000)),
    "head": lambda store: store.head("object"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("object"),
}


@pytest.fixture
def bucket(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with the object `in/object`."""
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    made = object_server.new_bucket()
    open_store(object_server.url(made, "in")).put("object", DATA)
    return made


@pytest.fixture
def through(object_server: ObjectServer, bucket: str) -> Callable[..., Any]:
    """Call with a plan and a `Patience`: a context of the proxy and the store behind it."""

    @contextmanager
    def make(plan: Callable[[Request, int], Fault | None], patience: Patience = Patience()):  # noqa: B008
        with between(object_server.endpoint, plan) as (proxy, endpoint):
            yield proxy, open_bucket(object_server.url(bucket, "in", endpoint=endpoint), patience)

    return make


def first(fault: Fault, times: int) -> Callable[[Request, int], Fault | None]:
    """The first requests go wrong."""
    return lambda request, number: fault if number < times else None


def always(fault: Fault, *methods: str) -> Callable[[Request, int], Fault | None]:
    return lambda request, number: fault if not methods or request.method in methods else None


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.DROP])
@pytest.mark.parametrize("call", CALLS)
def test_what_fails_twice_is_done_the_third_time(
    call: str, fault: Fault, through: Callable[..., Any], object_server: ObjectServer, bucket: str
) -> None:
    direct = open_bucket(object_server.url(bucket, "in"))
    expected = None if call == "put" else CALLS[call](direct)
    if call == "delete":
        direct.put("object", DATA)
    with through(first(fault, 2), Patience(pause=0.02)) as (proxy, store):
        result = CALLS[call](store)
    assert [request.method for request in proxy.requests[:2]] == [proxy.requests[2].method] * 2
    if call == "put":
        assert result is True
        assert direct.get("new") == b"12345"
    elif call == "delete":
        assert [info.key for info in direct.list()] == []
    else:
        assert result == expected


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.DROP, Fault.HANG])
@pytest.mark.parametrize("call", CALLS)
def test_what_goes_on_failing_is_transient_and_ends(
    call: str, fault: Fault, through: Callable[..., Any]
) -> None:
    started = time.monotonic()
    patience = HASTY._replace(request=HANGING) if fault is Fault.HANG else HASTY
    with through(always(fault), patience) as (proxy, store):
        with pytest.raises(StoreUnavailable) as caught:
            CALLS[call](store)
        assert time.monotonic() - started < 15
        # obstore tries nothing again that did not answer in time, unless it only reads.
        tries = 1 if (call, fault) == ("delete", Fault.HANG) else 3
        awaited(lambda: len(proxy.requests) >= tries)  # a server may see the last one late
        assert len(proxy.requests) == tries
    says_nothing_secret(caught.value, proxy)


@pytest.mark.parametrize("call", CALLS)
def test_what_is_refused_is_not_tried_again(call: str, through: Callable[..., Any]) -> None:
    with through(always(Fault.FORBIDDEN)) as (proxy, store):
        with pytest.raises(StoreError) as caught:
            CALLS[call](store)
        assert len(proxy.requests) == 1
    assert not caught.value.transient
    assert "AWS_ACCESS_KEY_ID" in caught.value.message
    says_nothing_secret(caught.value, proxy)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_statuses_that_are_tried_again(
    status: int, moto: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with behind(moto, monkeypatch, lambda request, number: status if number == 0 else None) as (
        proxy, store,
    ):  # fmt: skip
        assert store.head("object").size == 5
        assert len(proxy.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 405, 406, 410, 411, 413, 414, 415, 418, 422])
def test_statuses_that_are_not(
    status: int, moto: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with behind(moto, monkeypatch, lambda request, number: status) as (proxy, store):
        for call in ("head", "get", "put"):
            proxy.requests.clear()
            with pytest.raises(StoreError) as caught:
                CALLS[call](store)
            assert not caught.value.transient
            assert len(proxy.requests) == 1


@contextmanager
def behind(
    moto: ObjectServer,
    monkeypatch: pytest.MonkeyPatch,
    plan: Callable[[Request, int], int | None],
) -> Iterator[tuple[Between, BucketStore]]:
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    made = moto.new_bucket()
    open_store(moto.url(made, "in")).put("object", b"12345")
    with between(moto.endpoint, plan) as (proxy, endpoint):
        yield proxy, open_bucket(moto.url(made, "in", endpoint=endpoint))


def test_an_answer_that_is_cut_off_is_read_again(through: Callable[..., Any]) -> None:
    cut: list[int] = []

    def plan(request: Request, number: int) -> Fault | None:
        if request.method == "GET" and len(cut) < 2:
            cut.append(number)
            return Fault.CUT
        return None

    with through(plan) as (_, store):
        assert store.get("object") == DATA
        assert b"".join(store.stream("object", 7, 2_999_999)) == DATA[7:2_999_999]
    assert len(cut) == 2


def test_answers_that_are_always_cut_off_never_pass_for_whole(
    through: Callable[..., Any], object_server: ObjectServer, bucket: str
) -> None:
    direct = open_bucket(object_server.url(bucket, "in"))
    with through(always(Fault.CUT, "GET"), HASTY) as (proxy, store):
        for call in ("get", "stream", "list"):
            try:
                result = CALLS[call](store)
            except StoreUnavailable as error:
                says_nothing_secret(error, proxy)
            else:
                # rclone's whole answers are gone on with, half of the rest each time.
                assert object_server.name == "rclone"
                assert result == CALLS[call](direct)


def test_a_server_that_ignores_ranges_and_breaks_gives_no_wrong_byte(
    moto: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What obstore asks for after a break is a range, and answered with everything again."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    made = moto.new_bucket()
    open_store(moto.url(made)).put("object", DATA)
    cut: list[int] = []

    def plan(request: Request, number: int) -> Fault | None:
        if "range" in request.headers:
            return Fault.WHOLE
        if request.method == "GET" and len(cut) < 2:
            cut.append(number)
            return Fault.CUT
        return None

    with between(moto.endpoint, plan) as (_, endpoint):
        store = open_store(moto.url(made, endpoint=endpoint))
        assert store.get("object") == DATA
        assert len(cut) == 2
        cut.clear()
        assert b"".join(store.stream("object", 7, 2_999_999)) == DATA[7:2_999_999]
        assert len(cut) == 2
        assert b"".join(store.stream("object", 1_499_999, 1_500_001)) == DATA[1_499_999:1_500_001]


def test_a_put_whose_answer_is_lost_is_done_once_more(
    through: Callable[..., Any], object_server: ObjectServer, bucket: str
) -> None:
    lost: list[Request] = []

    def plan(request: Request, number: int) -> Fault | None:
        if request.method == "PUT" and not lost:
            lost.append(request)
            return Fault.LOST
        return None

    with through(plan) as (_, store):
        store.put("new", DATA)  # True or False: who wrote it cannot be known
    assert lost
    assert open_store(object_server.url(bucket, "in")).get("new") == DATA


def test_other_bytes_than_asked_for_are_refused(
    moto: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    made = moto.new_bucket()
    open_store(moto.url(made)).put("object", b"0123456789")
    with between(moto.endpoint, always(Fault.SHIFT, "GET")) as (_, endpoint):
        store = open_store(moto.url(made, endpoint=endpoint))
        with pytest.raises(StoreError, match="other bytes") as caught:
            list(store.stream("object", 0, 4))
    assert not caught.value.transient


def test_a_server_that_is_down_is_waited_for_a_while(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    store = open_bucket(f"s3://bucket/in?endpoint=http://127.0.0.1:{closed_port}")
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="no connection could be made") as caught:
        store.get("object")
    assert 0.2 < time.monotonic() - started < 20
    assert "hunter2" not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_path_of_an_endpoint_is_kept(
    moto: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Supabase's S3 endpoint has one."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    with between(moto.endpoint, always(Fault.FORBIDDEN)) as (proxy, endpoint):
        store = open_bucket(f"s3://b-1/in?endpoint={endpoint}/storage/v1/s3&region=eu-central-1")
        with pytest.raises(StoreError):
            store.get("object")
    assert proxy.requests[0].path == "/storage/v1/s3/b-1/in/object"
    assert "/eu-central-1/s3/" in proxy.requests[0].headers["authorization"]


def test_sends_nothing_that_is_there_already(through: Callable[..., Any]) -> None:
    with through(lambda request, number: None) as (proxy, store):
        assert store.put("object", DATA) is False
    assert {request.method for request in proxy.requests} == {"HEAD"}


def test_puts_what_is_large_in_several_requests_and_the_rest_in_one(
    through: Callable[..., Any], object_server: ObjectServer, bucket: str
) -> None:
    mebibyte = 1024 * 1024
    small, large = DATA * 14, random.Random(6).randbytes(41 * mebibyte)  # 40.05 and 41 MiB
    small = small[: 40 * mebibyte]
    busy = []

    def plan(request: Request, number: int) -> Fault | None:
        if "partNumber=3" in request.path and not busy:
            busy.append(number)
            return Fault.BUSY
        return None

    with through(plan) as (proxy, store):
        assert store.put("small", small) is True
        bodies = [request for request in proxy.requests if request.method == "PUT"]
        assert [request.size for request in bodies] == [40 * mebibyte]
        assert {k.lower(): v for k, v in bodies[0].headers.items()}["if-none-match"] == "*"
        proxy.requests.clear()
        assert store.put("large", large) is True
        bodies = [request for request in proxy.requests if request.method == "PUT"]
        assert sorted(request.size for request in bodies) == [mebibyte, *[8 * mebibyte] * (5 + 1)]
        assert len(busy) == 1, "one of the six was put twice"
        assert all("uploadId" in request.path for request in bodies)
        assert store.put("large", large) is False
    direct = open_store(object_server.url(bucket, "in"))
    assert direct.get("small") == small
    assert direct.get("large") == large


def test_a_large_object_that_was_not_put_whole_is_not_there(
    through: Callable[..., Any], object_server: ObjectServer, bucket: str
) -> None:
    def plan(request: Request, number: int) -> Fault | None:
        return Fault.FORBIDDEN if "partNumber=3" in request.path else None

    with through(plan) as (_, store), pytest.raises(StoreError):
        store.put("large", bytes(41 * 1024 * 1024))
    assert [info.key for info in open_store(object_server.url(bucket, "in")).list()] == ["object"]


def says_nothing_secret(error: StoreError, proxy: Between) -> None:
    """Nothing of the credentials, of a request, or of obstore's own text."""
    words = {"Signature", "Credential", "Debug", "source:", "x-amz", "AWS4"}
    for request in proxy.requests:
        words |= {v for k, v in request.headers.items() if k.lower() == "authorization"}
    assert not [word for word in words if word in error.message]
    assert error.__cause__ is None
    assert error.__suppress_context__
