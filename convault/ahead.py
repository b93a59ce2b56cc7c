"""The next one is made while the last one is used: in one thread, which nothing else runs in."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_END = object()


def ahead(items: Iterable[T], name: str) -> Generator[T, None, None]:
    """The items in their order, each made by a thread called `name` while the one before is used;
    so there are two at a time. Errors come where the item would have come."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix=name) as pool:
        pending = pool.submit(next, iterator, _END)
        while (item := pending.result()) is not _END:
            pending = pool.submit(next, iterator, _END)
            yield item  # type: ignore[misc]
