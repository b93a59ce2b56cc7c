"""A manifest's JSON, written and read piece by piece: one of 100,000 parts has 220 MB of it, which
as Python's dicts would be ten times as much memory. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_WALKED = frozenset({"convault", "tables"})
"""members whose values, and their items, are walked through"""
_MANY = frozenset({"resources", "parts", "ranges", "files"})
"""members that are arrays of a great many small values, each looked at as a whole"""
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


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


def member_of(data: bytes, name: str, wanted: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """The text of the object `name` of a JSON object, and the values of its members that are
    `wanted`, as far as it has them; of two of one name the last counts. All of `data` is looked at,
    and little of it kept. ValueError when it is no JSON, KeyError without such a member, TypeError
    when that is no object, RecursionError."""
    text = data.decode(json.detect_encoding(data), "surrogatepass")
    found: dict[str, tuple[int, int]] = {}
    end = _walk(text, _after(text, 0), lambda key, *place: found.update({key: place}))
    if _after(text, end) != len(text):
        raise ValueError("there is something behind it")
    start, end = found[name]
    if text[start] != "{":
        raise TypeError(f"{name} is no object")
    looked_for, values = frozenset(wanted), dict[str, Any]()

    def look(key: str, at: int, _: int) -> None:
        if key in looked_for:
            values[key] = _decode(text, at)[0]

    _walk(text, start, look)
    return text[start:end], values


def _walk(
    text: str, start: int, tell: Callable[[str, int, int], None] | None = None, *, deep: bool = True
) -> int:
    """Where the value that starts there ends; of an object's members `tell` is told name, start
    and end. An array's items are walked through, too, if `deep`. ValueError, RecursionError."""
    opening = text[start : start + 1]
    if opening not in ("{", "["):
        return _decode(text, start)[1]
    closing = "}" if opening == "{" else "]"
    at = _after(text, start + 1)
    if text[at : at + 1] == closing:
        return at + 1
    while True:
        if opening == "[":
            end = _walk(text, at) if deep else _decode(text, at)[1]
        else:
            key, at = _decode(text, at)
            at = _after(text, at)
            if not isinstance(key, str) or text[at : at + 1] != ":":
                raise ValueError("no member of an object")
            at = _after(text, at + 1)
            if key in _WALKED:
                end = _walk(text, at)
            elif key in _MANY and text[at : at + 1] == "[":
                end = _walk(text, at, deep=False)
            else:
                end = _decode(text, at)[1]
            if tell is not None:
                tell(key, at, end)
        at = _after(text, end)
        if text[at : at + 1] == closing:
            return at + 1
        if text[at : at + 1] != ",":
            raise ValueError("neither a comma nor an end")
        at = _after(text, at + 1)


def _after(text: str, at: int) -> int:
    """Behind white space."""
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
