"""Listings of Supabase Storage in every shape a server gives them, to the end."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest

from convault.errors import StoreError, StoreUnavailable
from convault.files.storage import FileStorage
from convault.project import project
from convault.stores.supabase import listing, open_supabase
from convault.stores.supabase.api import StorageApi
from tests.stores.between import Fault, Request, between
from tests.supabase_stack import SupabaseStack

pytestmark = pytest.mark.xdist_group("supabase")

KEYS = sorted(
    [f"data/messages/{number:03d}.zst" for number in range(23)]
    + ["convault.json", "data/messages_2/x", "datum/y", "backups/a/1", "backups/a/b/c/2"]
)


@pytest.fixture(params=["whole names by cursor", "folders by offset", "whole names by offset"])
def shape(request: pytest.FixtureRequest) -> str:
    """`list-v2` and `list` of Supabase, and what lite calls `list`."""
    name: str = request.param
    return name


@pytest.fixture
def bucket(supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket with KEYS below `in/`; pages are short."""
    monkeypatch.setattr(listing, "PAGE", 5)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", supabase.secret_key)
    made = supabase.new_bucket()
    with supabase.client() as client:
        for key in [*(f"in/{key}" for key in KEYS), "inn/other", "other"]:
            client.post(f"/storage/v1/object/{made}/{key}", content=b"12345").raise_for_status()
    return made


def plan_of(shape: str) -> Callable[[Request, int], Fault | None]:
    def plan(request: Request, number: int) -> Fault | None:
        hidden = shape == "folders by offset" and "/list-v2/" in request.path
        return Fault.NO_ROUTE if hidden else None

    return plan


def endpoint_of(shape: str, stack: SupabaseStack) -> str:
    return stack.url if shape == "whole names by offset" else stack.full_url


def test_every_object_is_listed_once(
    shape: str, bucket: str, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    with between(endpoint_of(shape, supabase), plan_of(shape)) as (proxy, endpoint):
        monkeypatch.setenv("SUPABASE_URL", endpoint)
        store = open_supabase(f"supabase://{bucket}/in")
        assert sorted(info.key for info in store.list()) == KEYS
        assert {info.size for info in store.list()} == {5}
        assert sorted(info.key for info in store.list("data/messages/")) == [
            key for key in KEYS if key.startswith("data/messages/")
        ]
        assert [info.key for info in store.list("backups/a/b/")] == ["backups/a/b/c/2"]
        assert list(store.list("nothing/")) == []
        whole = open_supabase(f"supabase://{bucket}")
        assert {info.key for info in whole.list()} == {
            *(f"in/{key}" for key in KEYS), "inn/other", "other"
        }  # fmt: skip
        refused = [r for r in proxy.requests if "/list-v2/" in r.path]
        assert shape != "folders by offset" or len(refused) == 2, "each store remembers"


@pytest.mark.parametrize("hidden", [False, True])
def test_a_bucket_is_listed_whatever_its_name(
    supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", supabase.secret_key)
    bucket = f"what? &+ {supabase.new_bucket()}"
    with supabase.client() as client:
        made = {"id": bucket, "name": bucket}
        client.post("/storage/v1/bucket", json=made).raise_for_status()
        file = f"/storage/v1/object/{quote(bucket)}/a.txt"
        client.post(file, content=b"a").raise_for_status()
    plan = plan_of("folders by offset" if hidden else "")
    with between(supabase.full_url, plan) as (_, endpoint):
        monkeypatch.setenv("SUPABASE_URL", endpoint)
        assert list(FileStorage(project()).names(bucket)) == ["a.txt"]


def test_what_stays_is_listed_while_others_are_deleted(
    shape: str, bucket: str, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By offset, what is deleted before a page moves what follows it into the page before."""
    deleted = KEYS[8:11]
    pages: list[str] = []

    def plan(request: Request, number: int) -> Fault | None:
        if "/object/list" in request.path:
            pages.append(request.path)
            if len(pages) in (4, 8):  # the third page, whichever of the two it is
                with supabase.client() as client:
                    names = [f"in/{key}" for key in deleted[: len(pages) // 4 + 1]]
                    client.request(
                        "DELETE", f"/storage/v1/object/{bucket}", json={"prefixes": names}
                    ).raise_for_status()
        return plan_of(shape)(request, number)

    with between(endpoint_of(shape, supabase), plan) as (_, endpoint):
        monkeypatch.setenv("SUPABASE_URL", endpoint)
        found = [info.key for info in open_supabase(f"supabase://{bucket}/in").list()]
    assert len(pages) >= 4
    assert set(KEYS) - set(deleted) <= set(found)
    assert len(found) == len(set(found))


def test_a_folder_that_changes_all_the_time_is_no_shorter_answer(
    bucket: str, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [f"in/{key}" for key in KEYS if key.startswith("data/messages/")]

    def plan(request: Request, number: int) -> Fault | None:
        if "/object/list/" in request.path:
            with supabase.client() as client:
                client.request(
                    "DELETE", f"/storage/v1/object/{bucket}", json={"prefixes": [left.pop(0)]}
                )
        return plan_of("folders by offset")(request, number)

    with between(supabase.full_url, plan) as (_, endpoint):
        monkeypatch.setenv("SUPABASE_URL", endpoint)
        with pytest.raises(StoreUnavailable, match="changed each time"):
            list(open_supabase(f"supabase://{bucket}/in").list("data/messages/"))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [{"name": "a"}],
        {"objects": [{"name": "in/a"}], "hasNext": False},
        {"objects": [{"name": "in/a", "metadata": None, "updated_at": "now"}]},
        {"objects": [], "hasNext": True},
        {"objects": [], "hasNext": True, "nextCursor": ""},
    ],
    ids=str,
)
def test_an_answer_that_cannot_be_right_is_no_listing(
    answer: object, bucket: str, supabase: SupabaseStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_URL", supabase.full_url)
    store = open_supabase(f"supabase://{bucket}/in")
    store.head("convault.json")
    monkeypatch.setattr(StorageApi, "json", lambda *_: answer)
    with pytest.raises(StoreError, match="does not give") as caught:
        list(store.list())
    assert not caught.value.transient
