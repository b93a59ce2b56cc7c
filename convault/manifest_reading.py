"""A manifest's JSON, read value by value out of its bytes: of those of 100,000 parts, 220 MB, a
window is text at a time, and nothing is kept but what is asked for. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

WINDOW = 1 << 20
"""bytes that are made text at a time, or as many as one value has"""
_MARGIN = 8
"""Characters behind a value without which it may not be whole: `1` may go on as `1.5` or `1e+5`"""
_LONG = frozenset({"resources", "files", "parts", "ranges"})
"""arrays of a great many small values"""
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode

Path: TypeAlias = tuple[str | int, ...]
"""Names and numbers that lead to a value from the object that is read"""
Take: TypeAlias = Callable[[Path, str], None]
"""Told of an item of a long array: where the array is, and the item's JSON. `Drop` is told which
arrays, those that a path leads to and below, count no more: of two members of a name the last
does."""
Drop: TypeAlias = Callable[[Path], None]


class _Text:
    """The text of some JSON, and a place in it that moves on."""

    def __init__(self, data: bytes) -> None:
        encoding = json.detect_encoding(data)
        if encoding != "utf-8":  # no manifest of ours
            data = data.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
        self._data = data
        self._end = 0
        """of the bytes that are text"""
        self._text = ""
        self._at = 0

    def peek(self) -> str:
        """The next character that is no white space; '' at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def pass_over(self, character: str) -> None:
        """Go behind it. ValueError when it is not the next one."""
        if self.peek() != character:
            raise ValueError(f"no {character} where one belongs")
        self._at += 1

    def value(self) -> tuple[Any, str]:
        """The value that begins here, and its text. ValueError, RecursionError."""
        self.peek()
        while True:
            try:
                found, end = _decode(self._text, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            if end + _MARGIN <= len(self._text) or not self._more():
                text, self._at = self._text[self._at : end], end
                return found, text

    def names(self) -> Iterator[str]:
        """The names of the object that begins here; after each its value has to be read."""
        self.pass_over("{")
        if self.peek() != "}":
            while True:
                name, _ = self.value()
                if not isinstance(name, str):
                    raise ValueError("no name of a member")
                self.pass_over(":")
                yield name
                if self.peek() != ",":
                    break
                self.pass_over(",")
        self.pass_over("}")

    def items(self) -> Iterator[int]:
        """The numbers of the items of the array that begins here; each has to be read."""
        self.pass_over("[")
        if self.peek() != "]":
            number = 0
            while True:
                yield number
                number += 1
                if self.peek() != ",":
                    break
                self.pass_over(",")
        self.pass_over("]")

    def _more(self) -> bool:
        """Make more of it text; False when there is no more. As much again as there is, so that a
        long value is looked at a few times only."""
        begin = self._end
        end = min(len(self._data), begin + max(WINDOW, len(self._text) - self._at))
        if begin == end:
            return False
        while end < len(self._data) and self._data[end] & 0xC0 == 0x80:
            end += 1  # in the middle of a character
        rest = self._text[self._at :]
        self._text = rest + self._data[begin:end].decode("utf-8", "surrogatepass")
        self._at, self._end = 0, end
        return True


def members(data: bytes, wanted: Iterable[str] = ()) -> tuple[list[str], dict[str, Any]]:
    """The names of a JSON object, in the order in which `json.loads` would give them, and the
    values of those that are `wanted`. All of `data` is looked at. ValueError where that is no
    object of JSON, RecursionError."""
    text, looked_for = _Text(data), frozenset(wanted)
    found: dict[str, Any] = {}
    for name in text.names():
        found[name] = None
        if name in looked_for:
            found[name] = text.value()[0]
        else:
            _pass(text, name)
    _require_end(text)
    return list(found), {name: found[name] for name in looked_for & found.keys()}


def thinned(
    data: bytes, name: str, wanted: Iterable[str], take: Take, drop: Drop
) -> tuple[str, dict[str, Any]]:
    """The JSON of the object `name` of a JSON object, with empty arrays in the places of `files`
    and of each table's `parts` and `ranges`, whose items `take` is told one by one; and the values
    of its members that are `wanted`. All of `data` is looked at. ValueError when it is no JSON,
    KeyError without such a member, or when that is no object, RecursionError."""
    text, looked_for = _Text(data), frozenset(wanted)
    found: tuple[str, dict[str, Any]] | None = None
    for member in text.names():
        if member != name:
            _pass(text, member)
            continue
        drop(())
        if text.peek() != "{":
            text.value()
            found = None
            continue
        values: dict[str, Any] = {}
        pieces = []
        for inner in text.names():
            if inner == "tables" and text.peek() == "[":
                drop((inner,))
                made = _tables(text, take, drop)
            elif inner == "files" and text.peek() == "[":
                made = _taken(text, (inner,), take, drop)
            else:
                drop((inner,))
                value, made = text.value()
                if inner in looked_for:
                    values[inner] = value
            pieces.append(f"{json.dumps(inner)}: {made}")
        found = "{" + ", ".join(pieces) + "}", values
    _require_end(text)
    if found is None:
        raise KeyError(name)
    return found


def _tables(text: _Text, take: Take, drop: Drop) -> str:
    tables = []
    for number in text.items():
        if text.peek() != "{":
            tables.append(text.value()[1])
            continue
        pieces = []
        for name in text.names():
            path = ("tables", number, name)
            if name in ("parts", "ranges") and text.peek() == "[":
                made = _taken(text, path, take, drop)
            else:
                drop(path)
                made = text.value()[1]
            pieces.append(f"{json.dumps(name)}: {made}")
        tables.append("{" + ", ".join(pieces) + "}")
    return "[" + ", ".join(tables) + "]"


def _taken(text: _Text, path: Path, take: Take, drop: Drop) -> str:
    """What stands in the place of a long array."""
    drop(path)
    for _ in text.items():
        take(path, text.value()[1])
    return "[]"


def _pass(text: _Text, name: str) -> None:
    """Go behind a value of which nothing is wanted: where many are expected, one by one."""
    opening = text.peek()
    if name in _LONG and opening == "[":
        for _ in text.items():
            text.value()
    elif name == "tables" and opening == "[":
        for _ in text.items():
            _pass(text, "convault")
    elif name == "convault" and opening == "{":
        for inner in text.names():
            _pass(text, inner)
    else:
        text.value()


def _require_end(text: _Text) -> None:
    if text.peek():
        raise ValueError("there is something behind it")
