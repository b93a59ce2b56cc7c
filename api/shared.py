"""One answer for those who ask the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from fastapi.concurrency import run_in_threadpool

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Shared(Generic[_Key, _Value]):
    """Makes a value once for all who wait for it, in a thread; they wait in the event loop, which
    alone uses this, so that twenty who wait are not twenty threads that want Python's lock.

    Nobody is given a value whose making began before they asked: whoever wrote something and then
    asks, sees it. So of each key at most one is being made, and one more waits to be.
    """

    def __init__(self) -> None:
        """Nothing is kept once nobody waits for it."""
        self._waiting: dict[_Key, asyncio.Task[_Value]] = {}
        self._making: dict[_Key, asyncio.Task[_Value]] = {}

    async def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """The value, made for this one or for another who asks; what `make` raises, for all. Who
        goes away while it is made takes it from nobody."""
        task = self._waiting.get(key)
        if task is None:
            before = self._making.get(key)
            task = self._waiting[key] = asyncio.create_task(self._made(key, make, before))
        return await asyncio.shield(task)

    async def _made(
        self, key: _Key, make: Callable[[], _Value], before: asyncio.Task[_Value] | None
    ) -> _Value:
        if before is not None:
            await asyncio.wait([before])
        self._making[key] = self._waiting.pop(key)  # who comes now gets the next one
        try:
            return await run_in_threadpool(make)
        finally:
            del self._making[key]
