"""The digest (`convault.ranges.row_digest`) of rows that came by REST, which computes none. Pure.

So a drill can ask a restored table for the same as after a backup by SQL. It is given up for types
whose text depends on settings of a session that nobody sees by REST, and for what is costly here:
a digest that is wrong would call a good backup a bad one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence

import polars as pl
import pyarrow as pa

from convault.models import Column
from convault.sources.rest.lookup3 import hash_integers, hash_texts

LONGEST = 32 * 1024
"""bytes of a value at most"""
_GROUP = 40
"""columns in one chain, as `row_digest` has it"""
_SAME_EVERYWHERE = re.compile(
    r"smallint|integer|bigint|boolean|text|uuid|jsonb?|macaddr8?|date|numeric|bytea"
    r"|character varying(\(\d+\))?|(numeric|text|uuid|boolean|smallint|integer|bigint)\[\]"
    r"|timestamp(\(\d\))? with(out)? time zone|time(\(\d\))? without time zone"
)
"""Types whose cast to text, in a session with dates as ISO, gives what their output function gives
in any. (Of `inet` the cast adds a mask, of `character` it cuts blanks off.)"""


def can_digest(columns: Sequence[Column], enums: Collection[str]) -> bool:
    """Whether the text of every column is the same on every server; `enums` are columns."""
    return all(
        column.mask == "null" or column.name in enums or _SAME_EVERYWHERE.fullmatch(column.type)
        for column in columns
    )


def digest_of(batch: pa.RecordBatch, columns: Sequence[Column]) -> int | None:
    """The sum of the rows' hashes, modulo 2^64; None where a value keeps it from being known."""
    ordered = sorted(columns, key=lambda column: column.name.encode())
    names = json.dumps([column.name for column in ordered]).encode()
    seed = int.from_bytes(hashlib.sha256(names).digest()[:8], "big")
    whole = pl.repeat(seed, batch.num_rows, dtype=pl.UInt64, eager=True)
    for start in range(0, len(ordered), _GROUP):
        chain = pl.repeat(start, batch.num_rows, dtype=pl.UInt64, eager=True)
        for column in ordered[start : start + _GROUP]:
            values = batch.column(batch.schema.get_field_index(column.name)).to_pylist()
            texts = [b"n" if value is None else b"v" + _text(value) for value in values]
            if any(not _is_known(text, column) for text in texts):
                return None
            chain = hash_texts(texts, chain)
        whole = hash_integers(chain, whole)
    hashes: list[int] = whole.to_list()
    return sum(hashes) % (1 << 64)


def _text(value: object) -> bytes:
    return (str(value).lower() if isinstance(value, bool) else str(value)).encode()


def _is_known(text: bytes, column: Column) -> bool:
    if len(text) > LONGEST:
        return False
    if text == b"n":
        return True
    if column.type.endswith("with time zone"):
        return text.endswith((b"+00", b"+00 BC", b"infinity"))
    return column.type != "bytea" or text.startswith(b"v\\x")
