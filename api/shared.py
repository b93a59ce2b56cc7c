"""One answer for those who ask the same at the same time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from threading import Lock
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Shared(Generic[_Key, _Value]):
    """Makes a value once for all who wait for it; any thread may ask.

    Nobody is given a value whose making began before they asked: whoever wrote something and then
    asks, sees it. So of each key at most one is being made, and one more waits to be.
    """

    def __init__(self) -> None:
        """Nothing is kept once nobody waits for it."""
        self._lock = Lock()
        self._waiting: dict[_Key, Future[_Value]] = {}
        self._making: dict[_Key, Future[_Value]] = {}

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        """The value, made here or by another who asks for it; what `make` raises, for all."""
        mine: Future[_Value] = Future()
        with self._lock:
            theirs = self._waiting.setdefault(key, mine)
            before = self._making.get(key)
        if theirs is not mine:
            return theirs.result()
        if before is not None:
            wait([before])
        with self._lock:
            del self._waiting[key]  # who comes now gets the next one
            self._making[key] = mine
        try:
            try:
                value = make()
            finally:
                # Before anybody is woken: whoever waited for this one puts its own there.
                with self._lock:
                    del self._making[key]
        except BaseException as error:
            mine.set_exception(error)
            raise
        mine.set_result(value)
        return value
