"""CONVAULT_UPLOAD_LIMIT: so many bytes a second, whoever sends them."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.errors import ConfigurationError
from convault.settings import load_settings
from convault.stores import open_store
from convault.stores.pace import BURST_SECONDS, PacedStore, TokenBucket


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 3)), max_size=30))
def test_no_stretch_of_time_has_more_than_its_share(sent: list[tuple[int, float]]) -> None:
    """Whoever waits as long as told: never more than the rate and one burst."""
    clock = [0.0]
    bucket = TokenBucket(1000, lambda: clock[0])
    total = 0
    for count, pause in sent:
        clock[0] += pause + bucket.reserve(count)
        total += count
        assert total <= 1000 * (clock[0] + BURST_SECONDS) + 1e-6


def test_an_empty_one_lets_nothing_go_at_once() -> None:
    bucket = TokenBucket(1000, lambda: 0.0, empty=True)
    assert bucket.reserve(500) == 0.5
    assert bucket.reserve(500) == 1.0


def test_threads_share_it_and_files_go_a_piece_at_a_time(tmp_path: Path) -> None:
    inner = open_store((tmp_path / "store").as_uri(), create=True)
    store = PacedStore(inner, TokenBucket(1_000_000))
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: store.put(f"data/{n}", bytes(300_000)), range(4)))
        store.put_file("files/a", io.BytesIO(bytes(700_000)))
        store.put_file("files/b", io.BytesIO(b"small"))
        store.replace("data/0", bytes(10))
    took = time.monotonic() - begun
    sizes = {info.key: info.size for info in store.list()}
    assert sizes == {"data/0": 10, **{f"data/{n}": 300_000 for n in (1, 2, 3)},
                     "files/a": 700_000, "files/b": 5}  # fmt: skip
    assert took > 0.85, "1.9 MB, of which the first goes at once"
    assert store.get("files/b") == b"small"


def test_a_limit_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVAULT_UPLOAD_LIMIT", "fast")
    with pytest.raises(ConfigurationError, match="CONVAULT_UPLOAD_LIMIT"):
        load_settings()
    monkeypatch.setenv("CONVAULT_UPLOAD_LIMIT", "2 MiB")
    assert load_settings().upload_limit == 2 * 2**20
