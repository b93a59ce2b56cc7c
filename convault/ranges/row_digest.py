"""One number for the rows of a table, computed by the server that holds them.

A backup has it computed inside its snapshot, a drill again after the restore: the values of every
row as Postgres' own exact text, whatever lay in between. It is a sum, so it does not depend on the
order of the rows, and the digest of a partitioned table is the sum of those of its partitions. The
hash is `hashtextextended`, which is a third of the cost of SHA-256: it guards against mistakes and
damage, not against a forger (signatures and SHA-256 of every part do). docs/format.md tells it all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from convault.formats.postgres_types import value_expression
from convault.models import Column

PATTERN = "^[0-9a-f]{16}$"
"""of a digest"""

PROBE = "pg_catalog.hashtextextended('convault' COLLATE pg_catalog.\"C\", 0)"
"""An expression that tells whether a server hashes as all others do: see `PROBED`."""
PROBED = -7058391331553247683
"""What it gives on every little-endian machine, for a server whose encoding is UTF-8."""

_GROUP = 40
"""columns in one chain of calls: Postgres' parser takes no chain of 1600"""
_MODULUS = 2**64


class Counted(NamedTuple):
    """What one scan of a table tells of its rows."""

    rows: int
    digest: str | None
    """None where the server does not hash as others do"""


def row_hash(
    columns: Sequence[Column], expression: Callable[[Column], str] = value_expression
) -> str:
    """An SQL expression: the hash of a row, an int8. `expression` gives a column's value as it is
    stored in the backup: boolean, integer or text.

    NULL, '' and the borders between values all count: each value is hashed with the hash of those
    before it as its seed. Columns are taken by name, because a partition may order them otherwise.
    """
    ordered = sorted(columns, key=lambda column: column.name.encode())
    names = json.dumps([column.name for column in ordered]).encode()
    seed = str(int.from_bytes(hashlib.sha256(names).digest()[:8], "big", signed=True))
    whole = f"({seed})::pg_catalog.int8"
    for start in range(0, len(ordered), _GROUP):
        chain = f"{start}::pg_catalog.int8"
        for column in ordered[start : start + _GROUP]:
            value = f"'v' OPERATOR(pg_catalog.||) ({expression(column)})::pg_catalog.text"
            text = f"coalesce({value}, 'n') COLLATE pg_catalog.\"C\""
            chain = f"pg_catalog.hashtextextended({text}, {chain})"
        whole = f"pg_catalog.hashint8extended({chain}, {whole})"
    return whole


def aggregate(
    columns: Sequence[Column], expression: Callable[[Column], str] = value_expression
) -> str:
    """An SQL expression over a table: what `from_sum` takes, or NULL where the server hashes in its
    own way."""
    return (
        f"CASE WHEN {PROBE} = {PROBED} AND pg_catalog.getdatabaseencoding() = 'UTF8' THEN"
        f" coalesce(pg_catalog.sum({row_hash(columns, expression)}), 0)::pg_catalog.text END"
    )


def from_sum(total: str | None) -> str | None:
    """The digest: 16 hexadecimal digits."""
    return None if total is None else f"{int(total) % _MODULUS:016x}"


def added(digests: Iterable[str | None]) -> str | None:
    """The digest of all the rows together; None when one of them is not known."""
    total = 0
    for digest in digests:
        if digest is None:
            return None
        total += int(digest, 16)
    return f"{total % _MODULUS:016x}"
