"""Variables of a named store: two providers have two keys, and they never mix."""

from __future__ import annotations

import os

import pytest

from convault.errors import StoreError
from convault.settings import environment, named_stores, own_variables
from convault.stores import open_store
from tests.object_servers import ObjectServer


def test_a_store_has_only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "s3://far/x"
    for variable, value in {
        "CONVAULT_STORE_FAR_AWAY_URL": url, "CONVAULT_STORE_NEAR_URL": "s3://near/x",
        "CONVAULT_STORE_FAR_AWAY_AWS_ACCESS_KEY_ID": "theirs",
        "CONVAULT_STORE_FAR_AWAY_AWS_ENDPOINT_URL": "https://far.example",
        "CONVAULT_STORE_FAR_AWAY_SUPABASE_URL": "https://far.supabase.co",
        "AWS_ACCESS_KEY_ID": "ours", "AWS_SESSION_TOKEN": "ours", "GOOGLE_SERVICE_ACCOUNT": "us",
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    assert named_stores() == {"far-away": url, "near": "s3://near/x"}
    with own_variables(url):
        assert environment("AWS_ACCESS_KEY_ID") == "theirs"
        assert environment("AWS_SESSION_TOKEN") is None, "a token goes with its key"
        assert environment("GOOGLE_SERVICE_ACCOUNT") == "us", "it has none of that kind"
        assert environment("SUPABASE_URL") == "https://far.supabase.co"
    for other in ("s3://near/x", "s3://elsewhere/x"):
        with own_variables(other):
            assert environment("AWS_ACCESS_KEY_ID") == "ours"


def test_the_first_stores_token_does_not_open_another_one(
    rclone: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rclone checks signatures: a token of somebody else's along with the key is refused, or would
    be by Amazon."""
    url = rclone.url(rclone.new_bucket(), "x")
    monkeypatch.setenv("CONVAULT_STORE_FAR_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ours")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "ours")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://ours.invalid")
    with pytest.raises(StoreError):
        list(open_store(url).list())
    for variable, value in rclone.environment.items():
        monkeypatch.setenv(f"CONVAULT_STORE_FAR_{variable}", value)
    store = open_store(url)
    assert store.put("data/x", b"x")
    assert store.get("data/x") == b"x"
    assert os.environ["AWS_SESSION_TOKEN"] == "ours"
