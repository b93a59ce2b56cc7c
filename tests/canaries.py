"""Marked secrets and row values, and a search that finds them where they must not be.

A marker is found as it is, in hex, in base64 (Prefect keeps pickled values so), and split by the
pages of a SQLite file (every value of every table is read as well as the file's bytes).
"""

from __future__ import annotations

import base64
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

Place = tuple[str, bytes]
"""Where something was read, for the message of a failing test, and the bytes."""


def marker(name: str) -> str:
    """A word that stands nowhere else; plain ASCII, so that no encoding hides it."""
    return f"canary{name}{secrets.token_hex(8)}"


def found(markers: Iterable[str], places: Iterable[Place]) -> set[tuple[str, str]]:
    """(marker, place) for each marker in each place that holds it."""
    wanted = {marker: _forms(marker) for marker in markers}
    hits = set()
    for place, data in places:
        # Base64 comes in lines, and these may stand in JSON.
        joined = data.replace(b"\\n", b"").replace(b"\n", b"")
        for word, forms in wanted.items():
            if any(form in data or form in joined for form in forms):
                hits.add((word, place))
    return hits


def files(folder: Path) -> Iterator[Place]:
    """Every file below `folder`, its path included; the tables of SQLite files value by value."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # the server works on
            continue
        yield str(path), str(path).encode() + b"\n" + data
        if data.startswith(b"SQLite format 3\0"):
            yield from _values(path)


def _values(path: Path) -> Iterator[Place]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in names.fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                yield (
                    f"{path}: {table}",
                    b"\n".join(
                        value if isinstance(value, bytes) else str(value).encode() for value in row
                    ),
                )


def _forms(word: str) -> list[bytes]:
    raw = word.encode()
    forms = [raw, raw.hex().encode()]
    for before in range(3):
        # The characters at both ends depend on the neighbours: leave them out.
        text = base64.b64encode(b"\0" * before + raw)
        start = -(-before * 8 // 6)
        end = (before + len(raw)) * 8 // 6
        forms.append(text[start:end])
    return forms
