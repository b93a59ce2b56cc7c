"""Names of tables and files as keys of a repository and members of a tar (docs/format.md, "Names").

One injective, ASCII, case-safe encoding: `a-z`, `0-9`, `_` and `-` stand for themselves, every
other byte of the name's UTF-8 is `=` and two lower-case hex digits. So `Messages` and `messages`
stay two names on a file system that folds case, and nothing can climb out of its folder.
"""

from __future__ import annotations

import re
from hashlib import sha256

from convault.models import TableName

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
_ENCODED = re.compile(r"(?:[a-z0-9_-]|=[0-9a-f]{2})+")
_EXTENSION = re.compile(r"(.+)=2e([a-z0-9]{1,8})")
_PARTS = ("ndjson", "csv", "parquet", "zst", "age")
"""extensions that names of parts have, and no name of a file, so that none is taken for another"""
_LONGEST = 180
"""characters of an encoded segment: file systems take 255 bytes, and `.age` may follow"""


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


def file_path(bucket: str, path: str) -> str:
    """The name in the tar of a Storage file, without the `.age` of an encrypted one.

    Injective: folders have no dot in their names, files have one or end in `=.file`, and none is
    named as a part is.
    """
    *folders, name = path.split("/")
    above = (_shortened(encode(text)) for text in (bucket, *folders))
    return "/".join(["files", *above, _file(name)])


def _file(name: str) -> str:
    encoded = encode(name)
    found = _EXTENSION.fullmatch(encoded)
    if found is None or found[2] in _PARTS:
        return f"{_shortened(encoded)}=.file"
    return f"{_shortened(found[1])}.{found[2]}"


def _shortened(encoded: str) -> str:
    """A segment that file systems take; `=_` stands in no other."""
    if len(encoded) <= _LONGEST:
        return encoded
    start = encoded[:100]
    return f"{start.rpartition('=')[0] or start}=_{sha256(encoded.encode()).hexdigest()}"
