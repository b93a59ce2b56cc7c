"""Who asks at the same time gets one answer, and nobody an answer from before they asked."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from api.shared import Shared


def test_two_are_made_for_many_who_ask_while_one_is_made() -> None:
    shared: Shared[str, int] = Shared()
    made: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def make() -> int:
        made.append(len(made))
        begun.set()
        go_on.wait(10)
        return made[-1]

    with ThreadPoolExecutor(11) as pool:
        first = pool.submit(shared.get, "a", make)
        assert begun.wait(10)
        later = [pool.submit(shared.get, "a", make) for _ in range(9)]
        assert pool.submit(shared.get, "b", lambda: 7).result() == 7, "another key waits for nobody"
        while "a" not in shared._waiting:
            time.sleep(0.001)
        time.sleep(0.05)  # those that were submitted ask
        go_on.set()
        assert first.result() == 0, "what was begun for it"
        assert {each.result() for each in later} == {1}, "none from before they asked"
    assert made == [0, 1]
    assert shared._waiting == shared._making == {}


def test_what_was_written_before_asking_is_seen() -> None:
    """Whatever threads do, and however they are scheduled."""
    shared: Shared[str, int] = Shared()
    written = 0
    lock = threading.Lock()

    def make() -> int:
        seen = written
        time.sleep(0.0005)
        return seen

    def write_and_ask(_: int) -> None:
        nonlocal written
        with lock:
            written += 1
            mine = written
        assert shared.get("a", make) >= mine

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_and_ask, range(200)))


def test_an_error_is_everybodys_and_not_kept() -> None:
    shared: Shared[str, int] = Shared()

    def fail() -> int:
        raise ValueError("no")

    asked: list[Future[int]] = []
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(shared.get, "a", fail) for _ in range(4)]
    for each in asked:
        with pytest.raises(ValueError, match="no"):
            each.result()
    assert shared.get("a", lambda: 5) == 5


def test_the_next_one_may_begin_before_the_one_before_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads are switched just when the first value is handed over."""
    shared: Shared[str, int] = Shared()
    asked, making, handed_over = threading.Event(), threading.Event(), threading.Event()

    class Slow(Future[int]):
        def set_result(self, result: int) -> None:
            super().set_result(result)
            if result == 1:
                making.wait(10)

    def first() -> int:
        asked.set()
        while "a" not in shared._waiting:
            time.sleep(0.001)
        return 1

    def second() -> int:
        making.set()
        handed_over.wait(10)
        return 2

    monkeypatch.setattr("api.shared.Future", Slow)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(shared.get, "a", first)
        assert asked.wait(10)
        two = pool.submit(shared.get, "a", second)
        assert one.result(10) == 1
        handed_over.set()
        assert two.result(10) == 2
    assert shared._waiting == shared._making == {}
