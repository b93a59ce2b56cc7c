"""URLs of buckets: what obstore is told, and what is refused. No server is asked.

Where a server is needed to show it, `test_buckets.py` does; virtual-hosted style has no such test,
because no name `bucket.host` can be counted on to lead to this machine.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from obstore.store import AzureStore, GCSStore, S3Store

from convault import settings
from convault.errors import ConfigurationError
from convault.stores import open_store
from convault.stores.bucket import BucketStore
from convault.stores.buckets import parse

SECRET = "c2VjcmV0aHVudGVyMg=="


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", SECRET)


def backend(url: str) -> Any:
    store = open_store(url)
    assert isinstance(store, BucketStore)
    assert SECRET not in repr(store)
    assert SECRET not in store.url
    return store._backend


def test_s3_of_amazon() -> None:
    made = backend("s3://bucket/some/where")
    assert isinstance(made, S3Store)
    assert made.prefix == "some/where"
    assert made.config["bucket"] == "bucket"
    assert made.config["access_key_id"] == "AKIDTEST"
    assert made.config["virtual_hosted_style_request"] == "true"
    assert "endpoint" not in made.config
    assert made.client_options["allow_http"] == "false"
    assert made.client_options["timeout"] in ("120s", timedelta(seconds=120), "2m")
    assert made.retry_config["max_retries"] == 4


@pytest.mark.parametrize(
    ("query", "virtual", "endpoint"),
    [
        ("endpoint=https://s3.example.org", False, "https://s3.example.org"),
        ("endpoint=https://s3.example.org/", False, "https://s3.example.org"),
        ("endpoint=https://s3.example.org:9&style=path", False, "https://s3.example.org:9"),
        ("endpoint=https://s3.example.org&style=virtual", True, "https://bucket.s3.example.org"),
        ("style=path", False, None),
        ("endpoint=http://127.0.0.1:9000", False, "http://127.0.0.1:9000"),
        ("endpoint=http://[::1]:9000", False, "http://[::1]:9000"),
        ("endpoint=http://localhost:9000", False, "http://localhost:9000"),
        ("endpoint=http://minio:9000&allow_http=true", False, "http://minio:9000"),
    ],
)
def test_style_and_endpoint(
    query: str, virtual: bool, endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        if endpoint:
            monkeypatch.setenv(variable, "https://elsewhere.example.org")
    made = backend(f"s3://bucket/?{query}")
    assert made.config["virtual_hosted_style_request"] == str(virtual).lower()
    assert made.config.get("endpoint") == endpoint
    assert made.config.get("endpoint_url_s3") == endpoint
    assert made.client_options["allow_http"] == (
        "true" if (endpoint or "").startswith("http:") else "false"
    )


def test_a_bucket_with_a_dot_is_asked_for_by_path() -> None:
    assert backend("s3://my.bucket").config["virtual_hosted_style_request"] == "false"


def test_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "sa-east-1")
    assert backend("s3://bucket").config["region"] == "sa-east-1"
    assert backend("s3://bucket?region=eu-west-1").config["region"] == "eu-west-1"


def test_a_session_token_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    assert backend("s3://bucket").config["session_token"] == "token"


def test_azure() -> None:
    made = backend("az://container/some/where")
    assert isinstance(made, AzureStore)
    assert made.prefix == "some/where"
    assert made.config["container_name"] == "container"
    assert made.config["account_name"] == "account"
    assert made.config["account_key"] == SECRET
    assert backend("az://container?account=another").config["account_name"] == "another"
    url = "az://container?endpoint=http://127.0.0.1:10000/account"
    assert backend(url).config["endpoint"] == "http://127.0.0.1:10000/account"


def test_azure_by_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2024&sig=hunter2")
    assert "sas_key" in backend("az://container").config


def test_azure_wants_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(ConfigurationError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        open_store("az://container")


def test_google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
    with pytest.raises(ConfigurationError, match="GOOGLE_APPLICATION_CREDENTIALS") as caught:
        open_store("gs://bucket/some/where")
    assert caught.value.__suppress_context__
    (tmp_path / "credentials.json").write_text(
        '{"type": "authorized_user", "client_id": "i", "client_secret": "hunter2", '
        '"refresh_token": "hunter2"}'
    )
    made = backend("gs://bucket/some/where?endpoint=https://storage.example.org")
    assert isinstance(made, GCSStore)
    assert made.prefix == "some/where"
    assert made.config["bucket"] == "bucket"
    assert made.config["base_url"] == "https://storage.example.org"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket/a b", "s3://bucket/a%20b"),
        ("s3://bucket/a?style=path&endpoint=https%3A%2F%2Fh%3A9",
         "s3://bucket/a?endpoint=https://h:9&style=path"),
    ],
)  # fmt: skip
def test_the_url_that_it_shows_opens_it_again(url: str, shown: str) -> None:
    assert open_store(url).url == shown
    assert parse(shown) == parse(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://", "bucket is made of"),
        ("s3:///prefix", "bucket is made of"),
        ("s3://Bucket", "bucket is made of"),
        ("s3://host:9000/bucket", "bucket is made of"),
        ("az://a_b", "container is made of"),
        ("s3://bucket/../other", "prefix is a folder"),
        ("s3://bucket/a/%2e%2e/b", "prefix is a folder"),
        ("s3://bucket/a//b", "prefix is a folder"),
        ("s3://bucket/ação", "prefix is a folder"),
        ("s3://bucket/a#b", "prefix is a folder"),
        ("s3://bucket/" + "a" * 257, "at most 256"),
        ("s3://bucket?endpont=https://h", "endpoint, region, style, allow_http"),
        ("s3://bucket?style=path&style=virtual", "each once"),
        ("s3://bucket?style=other", "path or virtual"),
        ("s3://bucket?region=../x", "name of a region"),
        ("s3://bucket?allow_http=yes", "true or false"),
        ("az://container?account=a/b", "name of a storage account"),
        ("s3://bucket?endpoint=s3.example.org", "https://host"),
        ("s3://bucket?endpoint=ftp://h", "https://host"),
        ("s3://bucket?endpoint=https://h:x", "https://host"),
        ("s3://bucket?endpoint=https://", "https://host"),
        ("s3://bucket?endpoint=https://[::1", "https://host"),
        ("s3://[::1/prefix", "s3://bucket/prefix"),
        ("s3://bucket?endpoint=http://minio:9000", "not encrypted"),
        ("s3://bucket?endpoint=http://127.0.0.1.example.org", "not encrypted"),
        ("az://container?endpoint=http://10.0.0.1", "not encrypted"),
    ],
)
def test_refuses_with_the_remedy(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert says in caught.value.message


def test_an_endpoint_from_the_environment_is_held_to_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio:9000")
    with pytest.raises(ConfigurationError, match="AWS_ENDPOINT_URL is not encrypted"):
        open_store("s3://bucket")
    assert backend("s3://bucket?allow_http=true").config["endpoint"] == "http://minio:9000"


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKID:hunter2@bucket/prefix",
        "s3://hunter2@bucket",
        "s3://bucket?secret_access_key=hunter2",
        "s3://bucket?hunter2",
        "s3://bucket?X-Amz-Signature=hunter2",
        "s3://bucket?endpoint=https://user:hunter2@host",
        "s3://bucket?endpoint=https://host?token=hunter2",
        "az://container?sig=hunter2",
        "s3://bucket/a#hunter2",
        "s3://bucket?style=hunter2",
    ],
)
def test_repeats_no_secret(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "hunter2" not in caught.value.message
    assert caught.value.__cause__ is None


def test_half_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigurationError, match="AWS_SECRET_ACCESS_KEY"):
        open_store("s3://bucket")


def test_an_env_file_that_others_can_read_is_refused() -> None:
    settings.ENV_FILE.touch(0o644)
    settings.ENV_FILE.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        open_store("s3://bucket")
