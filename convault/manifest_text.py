"""A manifest's JSON, written piece by piece: one of 100,000 parts has 220 MB of it, which as
Python's dicts would be ten times as much memory. Pure; `manifest_reading` is the other direction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


class Listed:
    """A JSON array whose items are made one by one, when they are written; each a value, or with
    `as_text` its JSON at depth 0, indented as `text_of` does."""

    def __init__(self, items: Iterable[Any], as_text: Callable[[Any], str] | None = None) -> None:
        self.items = items
        self.as_text = as_text or text_of


def text_of(value: Any) -> str:
    """JSON as `json.dumps` writes it with one space of indent."""
    return json.dumps(value, ensure_ascii=False, indent=1)


def indented(text: str, depth: int) -> str:
    """The same, so deep in another value. A string of JSON holds no line feed."""
    return text.replace("\n", "\n" + " " * depth) if depth else text


def pieces(value: Any, depth: int = 0) -> Iterator[str]:
    """What `text_of` gives of a value, in pieces; it may be a dict in whose values, and theirs,
    there is a `Listed`, or be one."""
    if isinstance(value, Listed):
        begun = False
        for item in value.items:
            yield ("," if begun else "[") + "\n" + " " * (depth + 1)
            if isinstance(item, Mapping) and _is_lazy(item):
                yield from pieces(item, depth + 1)
            else:
                yield indented(value.as_text(item), depth + 1)
            begun = True
        yield "\n" + " " * depth + "]" if begun else "[]"
    elif isinstance(value, Mapping) and _is_lazy(value):
        begun = False
        for name, member in value.items():
            yield ("," if begun else "{") + "\n" + " " * (depth + 1) + text_of(name) + ": "
            yield from pieces(member, depth + 1)
            begun = True
        yield "\n" + " " * depth + "}"
    else:
        yield indented(text_of(value), depth)


def _is_lazy(value: Mapping[str, Any]) -> bool:
    return any(
        isinstance(member, Listed) or (isinstance(member, Mapping) and _is_lazy(member))
        for member in value.values()
    )
