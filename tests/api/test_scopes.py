"""Hashed API keys and tokens: each may do what it is for, and nothing else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import httpx
import jwt
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.auth import Guard
from api.caller import EVERYTHING, Caller, Scope
from api.keys import caller_with, keys_of, new_key
from convault.errors import ConfigurationError
from convault.settings import Settings
from tests.serving import PATH, client_of, problem, refused, served

SECRET = secrets.token_hex(32)
PROJECT = "https://abcdefghijkl.supabase.co"
LISTER, LISTERS_ENTRY = new_key("lister", [Scope.LIST])
OPERATOR, OPERATORS_ENTRY = new_key("operator", [Scope.LIST, Scope.OPERATE])
ADMIN, ADMINS_ENTRY = new_key("admin", [Scope.ADMIN])


@pytest.fixture(scope="module")
def guarded(settings: Settings) -> FastAPI:
    return create_app(
        settings.model_copy(
            update={
                "convault_api_key": None,
                "convault_api_keys": Settings(
                    convault_api_keys=f"{LISTERS_ENTRY} {OPERATORS_ENTRY}\n{ADMINS_ENTRY}"
                ).convault_api_keys,
                "supabase_url": PROJECT,
                "supabase_jwt_secret": Settings(supabase_jwt_secret=SECRET).supabase_jwt_secret,
            }
        )
    )


@pytest.fixture(scope="module")
def guarded_url(guarded: FastAPI) -> Iterator[str]:
    with served(guarded) as url:
        yield url


def token(**claims: object) -> str:
    now = int(time.time())
    usual = {"iss": f"{PROJECT}/auth/v1", "sub": "11111111-2222-4333-8444-555555555555",
             "aud": "authenticated", "role": "authenticated", "exp": now + 3600}  # fmt: skip
    return jwt.encode({**usual, **claims}, SECRET, "HS256")


def start(client: httpx.Client) -> httpx.Response:
    """Ask for a backup that the body's check refuses: it comes after that of the scope."""
    return client.post(PATH, json={"compressionLevel": 99})


def test_a_key_may_do_what_it_is_for(guarded_url: str) -> None:
    with client_of(guarded_url, LISTER) as client:
        assert client.get(PATH).status_code == 200
        answer = start(client)
        problem(answer, 403, "forbidden")
        assert "operate" in answer.json()["detail"]
    for key in (OPERATOR, ADMIN):
        with client_of(guarded_url, key) as client:
            assert client.get(PATH).status_code == 200
            assert start(client).status_code == 422


def test_a_user_may_do_what_the_role_allows(guarded_url: str) -> None:
    for claims, listing, starting in (
        ({"app_metadata": {"convault_role": "operator"}}, 200, 422),
        ({"app_metadata": {"convault_role": "admin"}}, 200, 422),
        ({"app_metadata": {}}, 403, 403),
        ({"user_metadata": {"convault_role": "admin"}}, 403, 403),
        ({"app_metadata": {"convault_role": "admin"}, "aud": "else"}, 401, 401),
    ):
        with client_of(guarded_url, token(**claims)) as client:
            assert client.get(PATH).status_code == listing
            assert start(client).status_code == starting


def test_a_token_is_no_api_key(guarded_url: str) -> None:
    good = token(app_metadata={"convault_role": "admin"})
    with client_of(guarded_url, None) as client:
        problem(client.get(PATH, headers={"X-API-Key": good}), 401, "unauthorized")
        answer = client.get(PATH, headers={"Authorization": f"Bearer {good[:-4]}AAAA"})
    problem(answer, 401, "unauthorized")
    assert good[:-4] not in answer.text


def test_the_digest_is_no_key(guarded_url: str) -> None:
    for given in (LISTERS_ENTRY, LISTERS_ENTRY.rpartition(":")[2], "lister"):
        with client_of(guarded_url, given) as client:
            problem(client.get(PATH), 401, "unauthorized")


def test_every_closed_route_says_what_it_needs(guarded_url: str) -> None:
    """So that nobody gets in by a token alone: one without any scope is refused everywhere."""
    with client_of(guarded_url, token()) as client:
        paths = client.get("/openapi.json").json()["paths"]
        routes = {(method, path) for path, methods in paths.items() for method in methods}
        assert {("get", PATH), ("post", PATH)} <= routes
        for method, path in routes - {("get", "/healthz")}:
            refused(client, method, path, 403, "forbidden")


def test_keys_are_kept_as_digests_alone() -> None:
    settings = Settings(convault_api_keys=f"{LISTERS_ENTRY}  {OPERATORS_ENTRY}")
    keys = keys_of(settings)
    assert [key.caller for key in keys] == [
        Caller("lister", frozenset({Scope.LIST})),
        Caller("operator", frozenset({Scope.LIST, Scope.OPERATE})),
    ]
    assert caller_with(LISTER.encode(), keys) == keys[0].caller
    assert caller_with(LISTER[:-1].encode(), keys) is None
    for text in (repr(keys), repr(settings), repr(Guard(settings))):
        assert LISTER not in text
    assert LISTERS_ENTRY.rpartition(":")[2] not in repr(settings)


def test_admin_may_do_everything_and_a_whole_key_too() -> None:
    assert all(Caller("x", frozenset({Scope.ADMIN})).may(scope) for scope in Scope)
    [whole] = keys_of(Settings(convault_api_key="a-key"))
    assert whole.caller.scopes == EVERYTHING


@pytest.mark.parametrize(
    "entries",
    ["hunter2", "name:list:abc", f"name::{'0' * 64}", f"name:fly:{'0' * 64}", f":list:{'0' * 64}",
     f"name:list+:{'0' * 64}", f"{LISTERS_ENTRY},{OPERATORS_ENTRY}",
     f"{LISTERS_ENTRY} lister:admin:{'0' * 64}"],
)  # fmt: skip
def test_entries_that_are_wrong_are_refused_and_not_repeated(entries: str) -> None:
    with pytest.raises(ConfigurationError, match="CONVAULT_API_KEYS") as caught:
        keys_of(Settings(convault_api_keys=entries))
    assert "hunter2" not in caught.value.message
    assert LISTERS_ENTRY not in caught.value.message
