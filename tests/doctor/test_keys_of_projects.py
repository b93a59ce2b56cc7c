"""The key that is set is the one that is needed."""

from __future__ import annotations

import time

import jwt
import pytest

from convault.doctor.api import judge_key
from convault.doctor.examination import examine
from convault.doctor.finding import Finding, State

URL = "https://abcdefghijklmnopqrst.supabase.co"
SECRET = "x" * 32


def legacy(**claims: object) -> str:
    usual = {"iss": "supabase", "ref": "abcdefghijklmnopqrst", "role": "service_role",
             "exp": int(time.time()) + 86400}  # fmt: skip
    return jwt.encode({**usual, **claims}, SECRET, "HS256")


def service_key(monkeypatch: pytest.MonkeyPatch, key: str) -> Finding:
    monkeypatch.setenv("CONVAULT_STORE_URL", "supabase://backups")
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", key)
    (found,) = (finding for finding in examine() if finding.name == "service key")
    assert not key or key not in found.found + found.remedy
    return found


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "it is not set"),
        ("hunter2", "this is neither"),
        ("sb_publishable_abc", "the publishable key"),
        (legacy(role="anon"), "the anon key"),
        (legacy(role="authenticated"), "a token with another role"),
    ],
)
def test_another_key_in_its_place_is_red(
    key: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = service_key(monkeypatch, key)
    assert found.state is State.RED
    assert words in found.found + found.remedy
    assert "API Keys" in found.found + found.remedy


@pytest.mark.parametrize("key", ["sb_secret_abc", legacy()], ids=["new", "older"])
def test_a_key_of_the_right_kind_is_ok(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service_key(monkeypatch, key).state is State.OK


def test_a_key_of_another_project_or_of_the_past_is_red() -> None:
    now = time.time()
    assert judge_key(legacy(), URL, now).state is State.OK
    other = judge_key(legacy(ref="zzzzzzzzzzzzzzzzzzzz"), URL, now)
    assert other.state is State.RED
    assert "of the project zzzzzzzzzzzzzzzzzzzz" in other.found
    assert judge_key(legacy(), URL, now + 2 * 86400).state is State.RED
