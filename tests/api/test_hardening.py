"""What holds for every request and every answer, whatever its route."""

from __future__ import annotations

import httpx
import pytest

from api.app import create_app
from api.attempts import WINDOW, Attempts
from convault.settings import Settings
from tests.patience import PATIENCE
from tests.serving import KEY, PATH, client_of, problem, served


@pytest.mark.parametrize("path", [PATH, "/healthz", "/nowhere", f"{PATH}/1", "/docs"])
def test_every_answer_says_what_may_be_done_with_it(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert ("default-src 'none'" in headers["content-security-policy"]) == (path != "/docs")


def test_no_other_origin_may_read_an_answer(client: httpx.Client) -> None:
    origin = {"Origin": "https://evil.example"}
    answer = client.get(PATH, headers=origin)
    problem(answer, 403, "cross-origin")
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    asked = client.options(PATH, headers={**origin, "Access-Control-Request-Method": "POST"})
    assert asked.status_code == 403
    assert not [name for name in asked.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil", "", "a]"],
)
def test_a_request_for_another_host_is_refused(client: httpx.Client, host: str) -> None:
    for path in (PATH, "/healthz"):
        body = problem(client.get(path, headers={"Host": host}), 421, "wrong-host")
        assert "CONVAULT_API_HOSTS" in str(body["detail"])


@pytest.mark.parametrize("origin", ["null", "", "https://localhost.evil.example", "127.0.0.1"])
def test_nor_may_it_have_anything_done(client: httpx.Client, origin: str) -> None:
    problem(client.post(PATH, headers={"Origin": origin}), 403, "cross-origin")


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8000", "https://LocalHost", "http://[::1]:8"])
def test_its_own_page_may_ask(client: httpx.Client, origin: str) -> None:
    assert client.get(PATH, headers={"Origin": origin}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1:1", "[::1]", "[::1]:8"])
def test_a_request_for_this_one_is_not(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_names_are_added_and_docs_are_switched_off(settings: Settings) -> None:
    changed = settings.model_copy(
        update={"convault_api_hosts": "backups.school.example, b", "convault_api_docs": False}
    )
    with served(create_app(changed)) as url, client_of(url) as client:
        for host in ("backups.school.example", "B:443", "localhost"):
            assert client.get(PATH, headers={"Host": host}).status_code == 200
        problem(client.get("/docs"), 404, "not-found")
        problem(client.get("/openapi.json"), 404, "not-found")


def test_whoever_guesses_is_blocked_and_nobody_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.attempts.WINDOW", PATIENCE)
    limited = settings.model_copy(update={"convault_failed_sign_ins": 3})
    with (
        served(create_app(limited)) as url,
        client_of(url, "guess") as guesser,
        client_of(url, KEY) as owner,
        client_of(url, key=None) as stranger,
    ):
        for _ in range(3):
            problem(guesser.get(PATH), 401, "unauthorized")
        answer = guesser.get(PATH)
        problem(answer, 429, "too-many-attempts")
        assert int(answer.headers["retry-after"]) > 0
        problem(stranger.get(PATH), 401, "unauthorized")
        assert owner.get(PATH).status_code == 200, "a right key at the same address"


def test_a_block_ends_by_itself() -> None:
    attempts = Attempts(3)
    for now in (0.0, 10.0, 20.0):
        assert attempts.seconds_blocked("a", now) == 0
        attempts.failed("a", now)
    assert attempts.seconds_blocked("a", 21.0) == WINDOW - 21
    assert attempts.seconds_blocked("b", 21.0) == 0
    assert attempts.seconds_blocked("a", WINDOW) == 0
    attempts.failed("a", WINDOW + 1)
    assert attempts.seconds_blocked("a", WINDOW + 2) == 8, "ten, twenty and sixty-one"
