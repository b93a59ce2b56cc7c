"""Names of tables as keys of a repository and members of a tar (docs/format.md, "Names").

One injective, ASCII, case-safe encoding: `a-z`, `0-9`, `_` and `-` stand for themselves, every
other byte of the name's UTF-8 is `=` and two lower-case hex digits. So `Messages` and `messages`
stay two names on a file system that folds case, and nothing can climb out of its folder.
"""

from __future__ import annotations

import re

from convault.models import TableName

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
_ENCODED = re.compile(r"(?:[a-z0-9_-]|=[0-9a-f]{2})+")


def encode(name: str) -> str:
    """`name` as one path segment. ValueError for the empty name."""
    if not name:
        raise ValueError("an empty name has no encoding")
    return "".join(chr(b) if b in _PLAIN else f"={b:02x}" for b in name.encode())


def decode(segment: str) -> str:
    """The name that `encode` made `segment` from. ValueError for anything else."""
    if not _ENCODED.fullmatch(segment):
        raise ValueError(f"not an encoded name: {segment!r}")
    plain = re.sub("=(..)", lambda m: chr(int(m[1], 16)), segment)
    name = plain.encode("latin-1").decode()
    if encode(name) != segment:
        raise ValueError(f"not an encoded name: {segment!r}")
    return name


def table_path(table: TableName) -> str:
    """The folder of a table: its name for schema `public`, `schema/name` for any other.

    Injective: a file in a table's folder has a dot in its name, a folder never has one.
    """
    if table.schema == "public":
        return encode(table.name)
    return f"{encode(table.schema)}/{encode(table.name)}"
