"""How PostgREST is asked for rows: what to select, and where a page begins. Pure: text in and out.

Every column gets an alias, so that no name of a column stands in an answer, and `order` means the
column and not its text. Values stand in `or=(...)` and `and=(...)`, in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from convault.models import Column

_TEXT = re.compile(r"text|bpchar|character( varying)?(\(\d+\))?")
_WORD = re.compile(r"[^\W\d]\w*")

Key = tuple[str, ...]
"""values of the primary key, as text"""

URL_BYTES = 6000
"""that a condition may take in a URL at most: gateways refuse more than 8 kB"""


def quoted(text: str) -> str:
    """A name or a value in double quotes, whatever characters it has."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def named(name: str) -> str:
    """The name of a table or column; in double quotes where it is no plain word. (Not always: not
    every server of this protocol takes them everywhere.)"""
    return name if _WORD.fullmatch(name) else quoted(name)


def selected(column: Column, alias: str) -> str:
    """The column as it travels: as text, but for booleans. Integers too, because what is written
    in JavaScript on the way keeps no more than 53 bits of a number; texts need no cast, and that of
    `character` would cut blanks off."""
    plain = column.encoding == "boolean" or _TEXT.fullmatch(column.type)
    cast = "" if plain else "::text"
    return f"{alias}:{named(column.name)}{cast}"


def as_key(names: Sequence[str]) -> str:
    """The columns of a primary key as text, as `_k0`, `_k1`, ..."""
    return ",".join(f"_k{n}:{named(name)}::text" for n, name in enumerate(names))


def order(names: Sequence[str]) -> str:
    """By these columns."""
    return ",".join(f"{named(name)}.asc" for name in names)


def after(names: Sequence[str], key: Key) -> str:
    """For `or`: rows whose key is greater, compared column by column as rows are in SQL."""
    terms = []
    for place, (name, value) in enumerate(zip(names, key, strict=True)):
        equal = [
            f"{named(n)}.eq.{quoted(v)}" for n, v in zip(names[:place], key[:place], strict=True)
        ]
        greater = f"{named(name)}.gt.{quoted(value)}"
        terms.append(f"and({','.join([*equal, greater])})" if equal else greater)
    return f"({','.join(terms)})"


def one_of(names: Sequence[str], keys: Iterable[Key]) -> str:
    """For `or`: rows that have one of the keys."""
    terms = [
        ",".join(f"{named(n)}.eq.{quoted(v)}" for n, v in zip(names, key, strict=True))
        for key in keys
    ]
    if len(names) == 1:
        return f"({','.join(terms)})"
    return f"({','.join(f'and({term})' for term in terms)})"


def batches(names: Sequence[str], keys: Iterable[Key], most: int = 100) -> Iterator[list[Key]]:
    """The keys in lots that fit into a URL each; one that is larger goes alone."""
    fixed = sum(len(name.encode()) for name in names) * 3 + 20 * len(names)
    lot: list[Key] = []
    size = 0
    for key in keys:
        # A byte may need three characters in a URL.
        own = fixed + sum(len(value.encode()) for value in key) * 3
        if lot and (size + own > URL_BYTES or len(lot) == most):
            yield lot
            lot, size = [], 0
        lot.append(key)
        size += own
    if lot:
        yield lot
