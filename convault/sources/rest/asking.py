"""How PostgREST is asked for rows: what to select, and where a page begins. Pure: text in and out.

Every column gets an alias, so that no name of a column stands in an answer, and `order` means the
column and not its text. Values stand in `or=(...)` and `and=(...)`, in double quotes: there any
name and any value can be written, and no name of a column is taken for a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from convault.models import Column

_TEXT = re.compile(r"text|bpchar|character( varying)?(\(\d+\))?")
_WORD = re.compile(r"[^\W\d]\w*", re.ASCII)

Key = tuple[str, ...]
"""values of the primary key, as text"""

URL_BYTES = 4000
"""that a condition may take in a URL at most: gateways refuse more than 8 kB, and names of columns
stand there as well"""


def quoted(text: str) -> str:
    """A name or a value in double quotes, whatever characters it has."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def named(name: str) -> str:
    """The name of a table or column; in double quotes where it is no plain word. (Not always: not
    every server of this protocol takes them everywhere.)"""
    return name if _WORD.fullmatch(name) else quoted(name)


def value(text: str) -> str:
    """A value in a condition. (Booleans go without quotes: not every server of this protocol takes
    them for a boolean in quotes.)"""
    return text if text in ("true", "false") else quoted(text)


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


def embedded(table: str, column: str, select: str) -> str:
    """What is asked of the row that a column refers to. (In quotes, where it could be taken for a
    kind of join: `left`, `inner`.)"""
    hint = quoted(column) if column.startswith(("left", "inner")) else named(column)
    return f"_b:{named(table)}!{hint}({select})"


def order(names: Sequence[str]) -> str:
    """By these columns."""
    return ",".join(f"{named(name)}.asc" for name in names)


def after(names: Sequence[str], key: Key) -> str:
    """For `or`: rows whose key is greater, compared column by column as rows are in SQL."""
    terms = []
    for place, (name, last) in enumerate(zip(names, key, strict=True)):
        equal = [equals(n, v) for n, v in zip(names[:place], key[:place], strict=True)]
        greater = f"{named(name)}.gt.{value(last)}"
        terms.append(f"and({','.join([*equal, greater])})" if equal else greater)
    return f"({','.join(terms)})"


def equals(name: str, text: str) -> str:
    """A condition: the column has the value."""
    return f"{named(name)}.eq.{value(text)}"


def one_of(names: Sequence[str], keys: Iterable[Key]) -> str:
    """A condition: the columns have the values of one of the keys."""
    listed = list(keys)
    if len(names) == 1:
        # A list of '' alone is one of nothing to PostgREST.
        if listed == [("",)]:
            return equals(names[0], "")
        return f"{named(names[0])}.in.({','.join(value(text) for (text,) in listed)})"
    terms = [",".join(equals(n, v) for n, v in zip(names, key, strict=True)) for key in listed]
    return f"or({','.join(f'and({term})' for term in terms)})"


def lacks_one(names: Sequence[str]) -> str:
    """A condition: one of the columns is NULL."""
    nulls = [f"{named(name)}.is.null" for name in names]
    return nulls[0] if len(nulls) == 1 else f"or({','.join(nulls)})"


def where(conditions: Sequence[str]) -> dict[str, str]:
    """The parameter that lets only rows through for which all conditions hold."""
    return {"and": f"({','.join(conditions)})"} if conditions else {}


def batches(
    names: Sequence[str], keys: Iterable[Key], room: int = URL_BYTES, most: int = 100
) -> Iterator[list[Key]]:
    """The keys in lots that fit into a URL each; one that is larger goes alone. `room` is for
    several conditions in one URL: the bytes that are left for this one."""
    # Of several columns each key repeats the names.
    fixed = 10 if len(names) == 1 else sum(len(quote(name)) + 20 for name in names)
    lot: list[Key] = []
    size = 0
    for key in keys:
        own = fixed + sum(len(quote(quoted(text), safe="")) for text in key)
        if lot and (size + own > room or len(lot) == most):
            yield lot
            lot, size = [], 0
        lot.append(key)
        size += own
    if lot:
        yield lot
