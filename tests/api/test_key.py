"""Nothing but the open paths answers without the key."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from api.app import create_app
from convault.catalog.base import Catalog
from convault.errors import ConfigurationError
from convault.settings import Settings
from tests.serving import KEY, PATH, client_of, problem, refused

OPEN = {("get", "/healthz")}


@pytest.fixture
def stranger(url: str) -> Iterator[httpx.Client]:
    with client_of(url, key=None) as client:
        yield client


def test_every_route_but_the_open_ones_wants_the_key(stranger: httpx.Client) -> None:
    routes = {
        (method, path)
        for path, methods in stranger.get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    assert {("get", PATH), ("post", PATH)} <= routes
    for method, path in routes - OPEN:
        answer = refused(stranger, method, path, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    for method, path in OPEN:
        assert stranger.request(method, path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": f"Bearer {KEY.upper()}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"X-API-Key": "schlüssel".encode("latin-1")},
        {"Cookie": f"X-API-Key={KEY}"},
    ],
    ids=str,
)
def test_a_wrong_key_is_refused(stranger: httpx.Client, headers: dict[str, str]) -> None:
    answer = stranger.get(PATH, headers=headers)
    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert KEY not in answer.text


def test_the_key_in_the_query_is_no_key(stranger: httpx.Client) -> None:
    problem(stranger.get(PATH, params={"X-API-Key": KEY}), 401, "unauthorized")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer {KEY}"},
        {"X-API-Key": KEY},
        {"Authorization": "Basic of-a-proxy", "X-API-Key": KEY},
    ],
    ids=str,
)
def test_either_header_may_bring_the_key(stranger: httpx.Client, headers: dict[str, str]) -> None:
    assert stranger.get(PATH, headers=headers).status_code == 200


def test_without_the_key_no_row_is_written(stranger: httpx.Client, catalog: Catalog) -> None:
    problem(stranger.post(PATH, json={}), 401, "unauthorized")
    assert catalog.list() == []


def test_the_key_comes_before_the_body(stranger: httpx.Client) -> None:
    problem(stranger.post(PATH, content=b"{" * 100_000), 401, "unauthorized")


@pytest.mark.parametrize("key", [None, "", "   "])
def test_no_application_without_a_key(settings: Settings, key: str | None) -> None:
    keyless = Settings(database_url=settings.source_url(), convault_api_key=key)
    with pytest.raises(ConfigurationError, match="openssl rand -hex 32"):
        create_app(keyless)


def test_no_application_without_a_catalog() -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        create_app(Settings(convault_api_key=KEY))


def test_settings_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    with pytest.raises(ConfigurationError, match="CONVAULT_API_KEY"):
        create_app()
    monkeypatch.setenv("CONVAULT_API_KEY", KEY)
    monkeypatch.setenv("DATABASE_URL", settings.source_url())
    assert create_app().title == "Convault"
