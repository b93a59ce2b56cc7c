"""Supabase Storage behind a bad network: what can be tried again is, and no byte is ever wrong."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from convault.errors import StoreError, StoreUnavailable
from convault.stores.buckets import Patience
from convault.stores.supabase import open_supabase
from convault.stores.supabase.store import SupabaseStore
from tests.patience import awaited
from tests.stores.between import HANGING, HASTY, Between, Fault, Request, between
from tests.supabase_stack import SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")

MEBIBYTE = 1024 * 1024
DATA = random.Random(5).randbytes(300_000)
LARGE = random.Random(6).randbytes(15 * MEBIBYTE)
"""three pieces of a resumable upload"""
CALLS: dict[str, Callable[[SupabaseStore], Any]] = {
    "put": lambda store: store.put("new", b"12345"),
    "replace": lambda store: store.replace("object", DATA),
    "get": lambda store: store.get("object"),
    "stream": lambda store: b"".join(store.stream("object", 1000, 200_000)),
    "head": lambda store: store.head("object"),
    "list": lambda store: list(store.list()),
    "delete": lambda store: store.delete("object"),
}
Plan = Callable[[Request, int], Fault | None]


@pytest.fixture
def bucket(supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with the object `in/object`, and the key to it in the environment."""
    monkeypatch.setenv("SUPABASE_URL", supabase.full_url)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", supabase.legacy_key())
    made = supabase.new_bucket()
    open_supabase(f"supabase://{made}/in").put("object", DATA)
    return made


@pytest.fixture
def direct(bucket: str) -> SupabaseStore:
    """The store without anything between."""
    return open_supabase(f"supabase://{bucket}/in")


@pytest.fixture
def through(
    supabase: SupabaseStack, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AbstractContextManager[tuple[Between, SupabaseStore]]]:
    """Call with a plan and a `Patience`: a context of the proxy and the store behind it."""

    @contextmanager
    def make(plan: Plan, patience: Patience = HASTY) -> Iterator[tuple[Between, SupabaseStore]]:
        with between(supabase.full_url, plan) as (proxy, endpoint), monkeypatch.context() as here:
            here.setenv("SUPABASE_URL", endpoint)
            yield proxy, open_supabase(f"supabase://{bucket}/in", patience=patience)

    return make


def first(fault: Fault, times: int) -> Plan:
    return lambda request, number: fault if number < times else None


def always(fault: Fault, *methods: str) -> Plan:
    return lambda request, number: fault if not methods or request.method in methods else None


def once(fault: Fault, wanted: Callable[[Request], bool]) -> Plan:
    """The first such request goes wrong."""
    done: list[Request] = []

    def plan(request: Request, number: int) -> Fault | None:
        if done or not wanted(request):
            return None
        done.append(request)
        return fault

    return plan


@pytest.mark.parametrize("fault", [Fault.BUSY_INSIDE, Fault.DROP])
@pytest.mark.parametrize("call", CALLS)
def test_what_fails_twice_is_done_the_third_time(
    call: str, fault: Fault, through: Callable[..., Any], direct: SupabaseStore
) -> None:
    expected = None if call in ("put", "replace", "delete") else CALLS[call](direct)
    with through(first(fault, 2)) as (proxy, store):
        result = CALLS[call](store)
    assert [request.path for request in proxy.requests[:2]] == [proxy.requests[2].path] * 2
    if call == "put":
        assert result is True
        assert direct.get("new") == b"12345"
    elif call == "delete":
        assert list(direct.list()) == []
    elif call == "replace":
        assert direct.get("object") == DATA
    else:
        assert result == expected


@pytest.mark.parametrize("call", ["put", "get"])
@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.BUSY_INSIDE, Fault.DROP, Fault.HANG])
def test_what_goes_on_failing_is_transient_and_ends(
    call: str, fault: Fault, through: Callable[..., Any]
) -> None:
    started = time.monotonic()
    patience = HASTY._replace(request=HANGING) if fault is Fault.HANG else HASTY
    with through(always(fault), patience) as (proxy, store):
        with pytest.raises(StoreUnavailable) as caught:
            CALLS[call](store)
        assert time.monotonic() - started < 15
        awaited(lambda: len(proxy.requests) >= 3)  # a server may see the last one late
        assert len(proxy.requests) == 3
    says_nothing_secret(caught.value, proxy)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        *[(call, Fault.FORBIDDEN_INSIDE) for call in CALLS],
        ("get", Fault.FORBIDDEN),
        ("get", Fault.ELSEWHERE),
        ("put", Fault.ELSEWHERE),
    ],
)
def test_what_is_refused_is_not_tried_again(
    call: str, fault: Fault, through: Callable[..., Any]
) -> None:
    after_the_bucket = lambda request, number: fault if number else None  # noqa: E731
    for plan, requests in ((always(fault), 1), (after_the_bucket, 2)):
        with through(plan) as (proxy, store):
            with pytest.raises(StoreError) as caught:
                CALLS[call](store)
            assert len(proxy.requests) == requests
        assert not caught.value.transient
        says_nothing_secret(caught.value, proxy)


def test_a_server_that_asks_to_wait_is_left_alone_as_long(through: Callable[..., Any]) -> None:
    with through(first(Fault.TOO_MANY, 1)) as (_, store):
        started = time.monotonic()
        assert store.head("object").size == len(DATA)
        assert 1 <= time.monotonic() - started < 10


def test_an_answer_that_is_cut_off_is_read_on(through: Callable[..., Any]) -> None:
    cut: list[int] = []

    def plan(request: Request, number: int) -> Fault | None:
        if "/object/info/" not in request.path and "Range" in request.headers and len(cut) < 2:
            cut.append(number)
            return Fault.CUT
        return None

    for call, expected in (
        (lambda store: store.get("object"), DATA),
        (lambda store: b"".join(store.stream("object", 7, 299_999)), DATA[7:299_999]),
    ):
        cut.clear()
        with through(plan) as (_, store):
            assert call(store) == expected
        assert len(cut) == 2


def test_a_range_ends_the_reading_of_a_server_that_gives_all(
    through: Callable[..., Any],
) -> None:
    """lite answers 200 with the whole object: what follows the range is not waited for."""
    with through(lambda request, number: None) as (_, store):
        assert b"".join(store.stream("object", 5, 9)) == DATA[5:9]


def test_a_put_whose_answer_is_lost_is_done(
    through: Callable[..., Any], direct: SupabaseStore
) -> None:
    with through(once(Fault.LOST, lambda request: request.method == "POST")) as (_, store):
        store.put("new", DATA)  # True or False: who wrote it cannot be known
    assert direct.get("new") == DATA


def test_a_large_file_goes_in_pieces_of_six_mebibytes(
    through: Callable[..., Any], direct: SupabaseStore
) -> None:
    with through(lambda request, number: None) as (proxy, store):
        assert store.put("large", LARGE) is True
        sent = [request.size for request in proxy.requests if request.method == "PATCH"]
        assert sent == [6 * MEBIBYTE, 6 * MEBIBYTE, 3 * MEBIBYTE]
        assert max(request.size for request in proxy.requests) == 6 * MEBIBYTE
        assert store.put("large", LARGE) is False
        store.replace("large", LARGE[::-1])
    assert direct.get("large") == LARGE[::-1]


@pytest.mark.parametrize(
    ("piece", "fault"),
    [(0, Fault.HALF), (1, Fault.HALF), (2, Fault.HALF), (1, Fault.DROP), (1, Fault.BUSY),
     (1, Fault.LOST), (2, Fault.LOST)],
)  # fmt: skip
def test_an_upload_that_is_cut_goes_on_where_it_was(
    fault: Fault, piece: int, through: Callable[..., Any], direct: SupabaseStore
) -> None:
    pieces: list[Request] = []

    def plan(request: Request, number: int) -> Fault | None:
        if request.method != "PATCH":
            return None
        pieces.append(request)
        return fault if len(pieces) == piece + 1 else None

    with through(plan) as (proxy, store):
        assert store.put("large", LARGE) is True
    assert direct.get("large") == LARGE
    created = [r for r in proxy.requests if r.path.endswith("/upload/resumable")]
    assert len(created) == 1, "it was not begun anew"
    assert len(pieces) <= 4


def test_an_upload_that_goes_on_breaking_ends_and_is_not_there(
    through: Callable[..., Any], direct: SupabaseStore
) -> None:
    with through(always(Fault.DROP, "PATCH")) as (proxy, store):
        with pytest.raises(StoreUnavailable) as caught:
            store.put("large", LARGE)
        assert len([r for r in proxy.requests if r.method == "PATCH"]) == 3
    says_nothing_secret(caught.value, proxy)
    assert [info.key for info in direct.list()] == ["object"]


@pytest.mark.parametrize(
    ("method", "fault"),
    [("POST", Fault.FORBIDDEN), ("HEAD", Fault.FORBIDDEN), ("PATCH", Fault.FORBIDDEN),
     ("HEAD", Fault.ELSEWHERE), ("PATCH", Fault.ELSEWHERE)],
)  # fmt: skip
def test_an_upload_that_is_refused_is_not_tried_again(
    method: str, fault: Fault, through: Callable[..., Any]
) -> None:
    def plan(request: Request, number: int) -> Fault | None:
        wanted = "/upload/resumable" in request.path and request.method == method
        return fault if wanted else None

    with through(plan) as (proxy, store):
        with pytest.raises(StoreError) as caught:
            store.put("large", LARGE)
        refused = [r for r in proxy.requests if plan(r, 0)]
        assert len(refused) == 1
    assert not caught.value.transient
    says_nothing_secret(caught.value, proxy)


def test_a_server_without_resumable_uploads_gets_it_in_one_request(
    through: Callable[..., Any], direct: SupabaseStore
) -> None:
    def plan(request: Request, number: int) -> Fault | None:
        return Fault.NO_ROUTE if "/upload/" in request.path else None

    with through(plan) as (proxy, store):
        for name in ("one", "two"):
            assert store.put(name, LARGE) is True
    assert len([r for r in proxy.requests if "/upload/" in r.path]) == 1, "it is remembered"
    assert direct.get("two") == LARGE


def test_a_server_that_is_down_is_waited_for_a_while(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("SUPABASE_URL", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "sb_secret_hunter2")
    store = open_supabase("supabase://bucket/in", patience=HASTY._replace(pause=0.2))
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="no connection could be made") as caught:
        store.get("object")
    assert 0.2 < time.monotonic() - started < 20
    assert "hunter2" not in caught.value.message
    assert caught.value.__suppress_context__


def says_nothing_secret(error: StoreError, proxy: Between) -> None:
    words = {"http://", "httpx", "aiohttp", "Bearer"}
    for request in proxy.requests:
        words |= {v for k, v in request.headers.items() if k.lower() in ("authorization", "apikey")}
    assert not [word for word in words if word in error.message]
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
