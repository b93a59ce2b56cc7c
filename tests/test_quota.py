"""CONVAULT_STORE_QUOTA, as it is written."""

from __future__ import annotations

import pytest

from convault.errors import ConfigurationError
from convault.quota import parse_quota
from convault.settings import Settings, load_settings, named_stores


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("52428800", 52_428_800), ("1B", 1), ("900MB", 900_000_000), ("900 mb", 900_000_000),
        ("1.5GB", 1_500_000_000), ("1GiB", 2**30), (" 0.5 KiB ", 512), ("2TB", 2 * 10**12),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_quota(text) == size
    assert Settings(convault_store_quota=text).store_quota == size


@pytest.mark.parametrize("text", ["", "0", "0.1B", "-1MB", "MB", "1 XB", "1,5GB", "١MB", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="900MB"):
        parse_quota(text)


def test_a_wrong_setting_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVAULT_STORE_QUOTA", "plenty")
    with pytest.raises(ConfigurationError, match="CONVAULT_STORE_QUOTA"):
        load_settings()
    monkeypatch.setenv("CONVAULT_STORE_QUOTA", "")
    assert load_settings().store_quota is None


def test_places_for_copies_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVAULT_STORE_URL", "file:///a")
    monkeypatch.setenv("CONVAULT_STORE_OLD_DISK_URL", "file:///b")
    monkeypatch.setenv("CONVAULT_STORE_EMPTY_URL", "")
    assert named_stores() == {"old-disk": "file:///b"}
