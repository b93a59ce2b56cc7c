"""From a URL to a store, and which URLs are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from convault.errors import ConfigurationError
from convault.stores import open_store
from convault.stores.folder import FolderStore


def test_opens_a_folder(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    assert isinstance(store, FolderStore)
    assert store.url == f"file://{tmp_path}"
    store.put("a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["with space", "ação", "100%", "a#b", "a?b", "a=b&c"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    url = (tmp_path / name).as_uri()
    store = open_store(url, create=True)
    store.put("key", b"1")
    assert (tmp_path / name / "key").exists()
    assert open_store(store.url).get("key") == b"1", "the URL that it shows opens it again"


def test_never_makes_a_folder_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        open_store(f"file://{tmp_path}/new")
    assert not (tmp_path / "new").exists()
    open_store(f"file://{tmp_path}/new", create=True)
    assert (tmp_path / "new").is_dir()


def test_memory_is_shared_by_name() -> None:
    open_store("memory://test-opening").put("a", b"1")
    assert open_store("memory://test-opening").get("a") == b"1"
    assert list(open_store("memory://test-opening-2").list()) == []
    assert open_store("memory://") is open_store("memory:///")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("backups", "relative paths are refused"),
        ("./backups", "relative paths are refused"),
        ("", "relative paths are refused"),
        ("C:\\backups", "relative paths are refused"),
        ("file:backups", "relative paths are refused"),
        ("/var/backups/a b", "Write file:///var/backups/a%20b"),
        ("file://backups/x", "third slash"),
        ("file://backups", "third slash"),
        ("file://./backups", "third slash"),
        ("file://", "third slash"),
        ("file:///", "more than /"),
        ("file:////", "more than /"),
        ("file:///a/../b", "without `..`"),
        ("file:///a/%2e%2e/b", "without `..`"),
        ("file:///a%00b", "written out"),
        ("file:///a%0Ab", "written out"),
        ("file:///a%ff", "UTF-8"),
        ("file:///a?b", "%3F"),
        ("file:///a#b", "%23"),
        ("file:///a\nb", "character"),
        ("memory://a/b", "nothing follows"),
        ("memory://A", "a-z"),
        ("memory://a?b", "a-z"),
        ("memory://[", "a-z"),
        ("ftp://host/prefix", "ftp:// is not supported"),
        ("https://example.org", "https:// is not supported"),
        ("://", "file:///absolute/folder"),
    ],
)
def test_refuses_with_the_remedy(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url, create=True)
    assert says in caught.value.message
    assert "file:///absolute/folder" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "file://user:hunter2@host/backups",
        "file://hunter2@/backups",
        "memory://user:hunter2@name",
        "s3://key:hunter2@bucket/prefix",
        "hunter2://host/x y",
        "postgresql://user:hunter2@host/db",
        "https://host/?token=hunter2",
        "user:hunter2@host",
    ],
)
def test_repeats_no_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url.replace("hunter2://", "hunter-2://"))
    assert "hunter2" not in caught.value.message
