"""Columns that point at several files in one value: arrays, and JSON. Pure: text in, texts out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

PATHS = ("path", "storage_path", "file_path", "object_path", "bucket_path")
BUCKETS = ("bucket", "bucket_id", "bucket_name", "storage_bucket")
_URL = ("http://", "https://", "/storage/v1/")

Form = Literal["", "array", "json"]
""""": the value is what points"""


class Unreadable(Exception):
    """The value is none of that form."""


class Pointer(NamedTuple):
    """What points at a file: a URL, or a path, in a bucket where the value names it."""

    text: str
    is_path: bool
    bucket: str | None = None


def form_of(type_: str) -> Form:
    """Of a column of that type (as format_type spells it)."""
    if type_ in ("json", "jsonb"):
        return "json"
    return "array" if type_.endswith("[]") else ""


def in_array(text: str) -> Iterator[str]:
    """The elements of an array as Postgres writes it, of whatever dimensions, without NULLs.
    Unreadable."""
    place = text.find("{")
    if place < 0 or (place and not text[:place].startswith("[")):
        raise Unreadable
    delimited = True
    while place < len(text):
        character = text[place]
        if character in "{},":
            delimited = True
            place += 1
        elif not delimited:
            raise Unreadable
        elif character == '"':
            element, place = _quoted(text, place + 1)
            yield element
            delimited = False
        else:
            end = place
            while end < len(text) and text[end] not in '{},"':
                end += 1
            if text[place:end] != "NULL":
                yield text[place:end]
            place, delimited = end, False


def _quoted(text: str, place: int) -> tuple[str, int]:
    found: list[str] = []
    while place < len(text):
        if text[place] == '"':
            return "".join(found), place + 1
        place += text[place] == "\\"
        found.append(text[place : place + 1])
        place += 1
    raise Unreadable


def in_json(text: str, *, paths: bool) -> Iterator[Pointer]:
    """What points at files in a JSON value, wherever it stands: strings that are URLs, and objects
    with a path and the bucket beside it (PATHS, BUCKETS). With `paths` an object needs no bucket,
    and a string that is the value itself, or one of its list, is a path. Unreadable."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable from None
    top = whole if isinstance(whole, list) else [whole]
    waiting: list[tuple[Any, bool]] = [(value, paths) for value in reversed(top)]
    while waiting:
        value, may_be_path = waiting.pop()
        if isinstance(value, str):
            if value.startswith(_URL):
                yield Pointer(value, is_path=False)
            elif may_be_path and value:
                yield Pointer(value, is_path=True)
        elif isinstance(value, list):
            waiting += [(item, False) for item in reversed(value)]
        elif isinstance(value, dict):
            yield from _object(value, paths=paths)
            waiting += [(item, False) for item in reversed(value.values())]


def _object(value: dict[str, Any], *, paths: bool) -> Iterator[Pointer]:
    path = next((value[name] for name in PATHS if isinstance(value.get(name), str)), "")
    bucket = next((value[name] for name in BUCKETS if isinstance(value.get(name), str)), None)
    if path and not path.startswith(_URL) and (paths or bucket is not None):
        yield Pointer(path, is_path=True, bucket=bucket)
