"""Who asks at the same time gets one answer, and nobody an answer from before they asked."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest

from api.shared import Shared
from tests.patience import PATIENCE


def test_two_are_made_for_many_who_ask_while_one_is_made() -> None:
    made: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def make() -> int:
        made.append(len(made))
        begun.set()
        go_on.wait(PATIENCE)
        return made[-1]

    async def ask() -> None:
        shared: Shared[str, int] = Shared()
        first = asyncio.create_task(shared.get("a", make))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        later = [asyncio.create_task(shared.get("a", make)) for _ in range(9)]
        assert await shared.get("b", lambda: 7) == 7, "another key waits for nobody"
        gone = asyncio.create_task(shared.get("a", make))
        await asyncio.sleep(0)
        gone.cancel()
        go_on.set()
        assert await first == 0, "what was begun for it"
        assert set(await asyncio.gather(*later)) == {1}, "none from before they asked"
        assert shared._waiting == shared._making == {}

    asyncio.run(ask())
    assert made == [0, 1]


def test_who_goes_away_first_takes_it_from_nobody() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make() -> int:
        begun.set()
        go_on.wait(PATIENCE)
        return 3

    async def ask() -> None:
        shared: Shared[str, int] = Shared()
        first = asyncio.create_task(shared.get("a", make))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        second = asyncio.create_task(shared.get("a", make))
        await asyncio.sleep(0)
        first.cancel()
        go_on.set()
        assert await second == 3

    asyncio.run(ask())


def test_what_was_written_before_asking_is_seen() -> None:
    """However those who ask are interleaved."""
    written = 0

    def make() -> int:
        seen = written
        time.sleep(0.0005)
        return seen

    async def ask() -> None:
        shared: Shared[str, int] = Shared()

        async def write_and_ask() -> None:
            nonlocal written
            for _ in range(25):
                written += 1
                mine = written
                assert await shared.get("a", make) >= mine
                await asyncio.sleep(random.choice((0, 0.0003)))

        await asyncio.gather(*(write_and_ask() for _ in range(8)))

    asyncio.run(ask())


def test_an_error_is_everybodys_and_not_kept() -> None:
    def fail() -> int:
        raise ValueError("no")

    async def ask() -> None:
        shared: Shared[str, int] = Shared()
        asked = [asyncio.create_task(shared.get("a", fail)) for _ in range(4)]
        for each in asked:
            with pytest.raises(ValueError, match="no"):
                await each
        assert await shared.get("a", lambda: 5) == 5

    asyncio.run(ask())
