"""What is made ahead comes in its order, and errors come where the item would have come."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from convault.ahead import ahead


def made(until: int, seen: list[int], error: bool = False) -> Iterator[int]:
    for number in range(until):
        seen.append(number)
        yield number
    if error:
        raise ValueError("the last one")


def test_items_come_in_their_order_and_at_most_one_is_made_before_it_is_asked_for() -> None:
    seen: list[int] = []
    for number in ahead(made(20, seen), "numbers"):
        assert len(seen) <= number + 2
    assert seen == list(range(20))


def test_an_error_comes_where_the_item_would_have_come() -> None:
    got: list[int] = []
    with pytest.raises(ValueError, match="the last one"):
        got.extend(ahead(made(3, [], error=True), "numbers"))
    assert got == [0, 1, 2]


def test_no_thread_is_left_when_nobody_asks_on() -> None:
    before = threading.active_count()
    items = ahead(made(1000, []), "numbers")
    assert next(items) == 0
    items.close()
    assert threading.active_count() == before
