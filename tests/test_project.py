"""SUPABASE_URL and the key: the wrong ones are found before anything is asked."""

from __future__ import annotations

import jwt
import pytest

from convault import settings
from convault.errors import ConfigurationError
from convault.project import project
from convault.stores import open_store

URL = "https://abcdefghijkl.supabase.co"
SECRET = "sb_secret_hunter2"


def token(role: object) -> str:
    return jwt.encode({"role": role}, "a secret that is long enough for HS256", "HS256")


def test_new_keys_go_as_apikey_and_older_ones_as_a_token_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUPABASE_URL", f"{URL}/")
    for key in (SECRET, f" {SECRET}\n"):
        monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", key)
        found = project()
        assert found.url == URL
        assert found.headers == {"apikey": SECRET}
        assert "hunter2" not in repr(found)
    older = token("service_role")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", older)
    assert project().headers == {"apikey": older, "Authorization": f"Bearer {older}"}


def test_both_may_stand_in_env_file() -> None:
    settings.ENV_FILE.touch(0o600)
    settings.ENV_FILE.write_text(f"SUPABASE_URL={URL}\nSUPABASE_SERVICE_ROLE_KEY={SECRET}\n")
    assert open_store("supabase://backups/in").url == "supabase://backups/in"


@pytest.mark.parametrize(
    ("key", "match"),
    [
        ("", "not set"),
        ("sb_publishable_hunter2", "publishable key"),
        (token("anon"), "the anon key"),
        (token("authenticated"), "another role"),
        (token(None), "another role"),
        ("a.b.c", "another role"),
        ("hunter2", "neither"),
        ("sb_secret_hun\nter2", "neither"),
        ("sb_secret_hún", "neither"),
        ("postgresql://u:hunter2@h/d", "neither"),
    ],
)
def test_a_wrong_key_is_named_and_not_repeated(
    key: str, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", key)
    with pytest.raises(ConfigurationError, match=match) as caught:
        open_store("supabase://backups")
    assert "hunter2" not in caught.value.message
    assert not key or key not in caught.value.message


@pytest.mark.parametrize(
    "url",
    ["", "abcdefghijkl.supabase.co", "http://abcdefghijkl.supabase.co", f"{URL}/storage/v1",
     "https://hunter2@abc.supabase.co", f"{URL}?key=hunter2", "https://abc:70000", "https://abc:x",
     "postgresql://postgres:hunter2@db.abc.supabase.co/postgres", "https://", f"{URL}#x", "https://[::1/hunter2"],
)  # fmt: skip
def test_a_wrong_address_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", url)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", SECRET)
    with pytest.raises(ConfigurationError, match="SUPABASE_URL") as caught:
        open_store("supabase://backups")
    assert "hunter2" not in caught.value.message


def test_http_to_another_machine_must_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", SECRET)
    for url in ("http://127.0.0.1:54321", "http://localhost:54321", "http://[::1]:1"):
        monkeypatch.setenv("SUPABASE_URL", url)
        assert project().url == url
    monkeypatch.setenv("SUPABASE_URL", "http://kong:8000")
    with pytest.raises(ConfigurationError, match="not encrypted"):
        project()
    monkeypatch.setenv("CONVAULT_SUPABASE_ALLOW_HTTP", "true")
    assert project().url == "http://kong:8000"


@pytest.mark.parametrize(
    "url",
    ["supabase://", "supabase:///in", "supabase://b@hunter2/in", "supabase://-b", "supabase://b/../in",
     "supabase://b/in?key=hunter2", "supabase://b/in#x", "supabase://b:80/in", "supabase://b/a%25b",
     "supabase://b/a%7Eb", "supabase://b/" + "a" * 300],
)  # fmt: skip
def test_a_wrong_url_of_a_store_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", SECRET)
    with pytest.raises(ConfigurationError, match="supabase://bucket/prefix") as caught:
        open_store(url)
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("limit", ["0", "-1", "50MB", "1e9", "٣"])
def test_a_wrong_limit_is_refused(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", URL)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", SECRET)
    monkeypatch.setenv("CONVAULT_SUPABASE_FILE_LIMIT", limit)
    with pytest.raises(ConfigurationError, match="number of bytes"):
        open_store("supabase://backups", create=True)
