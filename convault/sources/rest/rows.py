"""From the JSON of a page to Arrow, and what is remembered of the rows. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa

from convault.dataset.belonging import Belonging, key_columns, way_to_root
from convault.errors import SourceError, UnsupportedSource
from convault.models import Column, Dataset, Table
from convault.sources.rest.asking import Key, embedded, selected

NONE = pl.Series("hash", [], dtype=pl.UInt64)

_TYPES: dict[str, Any] = {
    "smallint": pa.int16(), "integer": pa.int32(), "bigint": pa.int64(), "boolean": pa.bool_(),
}  # fmt: skip
"""of others: text"""
_ISO = re.compile(r"(\d{4,}-\d\d-\d\d.*|-?infinity)")
_ZONED = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?", re.ASCII
)
_DATES = re.compile(r"date|timestamp(\(\d\))? with(out)? time zone")


def as_batch(
    page: Sequence[Mapping[str, Any]], table: Table, conversations: Sequence[Any] | None
) -> pa.RecordBatch:
    """The rows of a page as `sources.base.Snapshot.read` gives them. SourceError when the answer is
    not what was asked for, UnsupportedSource when dates are not written as ISO 8601."""
    try:
        arrays = [_array(page, f"_c{n}", column) for n, column in enumerate(table.columns)]
        names = [column.name for column in table.columns]
        if conversations is not None:
            kind = next((type(v) for v in conversations if v is not None), str)
            type_ = {bool: pa.bool_(), int: pa.int64()}.get(kind, pa.string())
            arrays.append(pa.array(conversations, type_))
            names.append("conversation of the row")
        return pa.RecordBatch.from_arrays(arrays, names)
    except (KeyError, TypeError, ValueError, OverflowError, pa.ArrowException):
        raise SourceError(
            f"The REST API gave other values for {table.name} than were asked for: its schema may "
            "have changed. Back up again.",
            table=table.name,
        ) from None


def _array(page: Sequence[Mapping[str, Any]], alias: str, column: Column) -> Any:
    type_ = _TYPES.get(column.type, pa.string())
    if column.mask:
        return pa.array([None] * len(page), type_)
    values = [row[alias] for row in page]
    if column.encoding == "integer":
        values = [None if v is None else int(v) for v in values]
    if column.type.endswith("with time zone"):
        values = [in_utc(value) for value in values]
    if column.encoding == "text":
        if _DATES.fullmatch(column.type):
            _require_iso(values, column)
        length = re.fullmatch(r"character\((\d+)\)", column.type)
        if length:  # the cast cuts trailing blanks off, which belong to the type
            values = [None if v is None else v.ljust(int(length[1])) for v in values]
    return pa.array(values, type_)


def _require_iso(values: Iterable[Any], column: Column) -> None:
    for value in values:
        if isinstance(value, str) and not _ISO.fullmatch(value):
            raise UnsupportedSource(
                f"The REST API does not write {column.name} ({column.type}) as ISO 8601, so that "
                "day and month may be taken for one another. Run ALTER ROLE authenticator SET "
                "DateStyle = 'ISO'; NOTIFY pgrst; or set DATABASE_URL."
            )


def in_utc(value: Any) -> Any:
    """A `timestamp with time zone` as text, as a session in UTC writes it: not every server of this
    protocol lets itself be asked for that. Years before 1 and beyond 9999 stay as they are."""
    found = _ZONED.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    moment, fraction, sign, *parts = found.groups()
    hours, minutes, seconds = (int(part or 0) for part in parts)
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    try:
        there = datetime.fromisoformat(moment)
        utc = there - offset if sign == "+" else there + offset
    except (ValueError, OverflowError):
        return value
    return f"{utc.isoformat(sep=' ')}{fraction or ''}+00"


def keys_of(page: Sequence[Mapping[str, Any]], table: Table) -> list[Key]:
    """The primary keys of the rows, as text. SourceError when one is not there."""
    try:
        keys = [tuple(row[f"_k{n}"] for n in range(len(table.primary_key))) for row in page]
    except KeyError:
        keys = [(None,)]
    if not all(isinstance(value, str) for key in keys for value in key):
        raise SourceError(
            f"The REST API gave rows of {table.name} without a primary key.", table=table.name
        )
    return keys


def hashed(keys: Sequence[Key]) -> pl.Series:
    """8 bytes a key: the same for the same key, in this process."""
    if not keys:
        return NONE
    return framed(keys, len(keys[0])).hash_rows(seed=0).alias("hash")


def framed(keys: Sequence[Key], width: int) -> pl.DataFrame:
    """The keys, a column for each of their `width` values."""
    columns = {str(n): [key[n] for key in keys] for n in range(width)}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))


def together(several: Iterable[pl.Series]) -> pl.Series:
    """All of the hashes, each once."""
    return pl.concat([NONE, *several]).unique()


def lacking(found: pl.Series, known: pl.Series) -> pl.Series:
    """Those of `found` that are not in `known`."""
    return found.to_frame().join(known.to_frame(), on="hash", how="anti")["hash"]


def values_of(page: Sequence[Mapping[str, Any]], table: Table, names: Sequence[str]) -> list[Key]:
    """Of each row the values of these columns as text; rows with a NULL among them are left out."""
    places = {column.name: f"_c{n}" for n, column in enumerate(table.columns)}
    rows = ([row.get(places[name]) for name in names] for row in page)
    return [tuple(map(_text, values)) for values in rows if None not in values]


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


class Conversations:
    """Which conversation a row belongs to, where that stands in no column of its own: asked for in
    the same request, along the foreign keys (PostgREST embeds what they lead to)."""

    def __init__(self, dataset: Dataset, table: Table, belongs: Belonging | None) -> None:
        """UnsupportedSource when a key on the way is one that PostgREST does not know."""
        self.select = ""
        self._keys: Sequence[tuple[str, Column]] = ()
        self._depth = 0
        if belongs is None or belongs.column is not None:
            self.is_asked = False
            return
        self.is_asked = True
        way = way_to_root(dataset, table.name) or ()
        assert dataset.root is not None
        root = dataset.table(dataset.root)
        holder, names = root, list(root.primary_key)
        if way and set(root.primary_key) <= set(way[-1].referenced_columns):
            names = key_columns(dataset, way[-1])
            holder, way = dataset.table(way[-1].table), way[:-1]
        found = {column.name: column for column in holder.columns}
        aliased = [selected(found[name], f"_b{n}") for n, name in enumerate(names)]
        self._keys = [(f"_b{n}", found[name]) for n, name in enumerate(names)]
        asked = ",".join(aliased)
        for key in reversed(way):
            if key.declared:
                raise UnsupportedSource(
                    f"Which conversation the rows of {table.name} belong to is told by a relation "
                    f"of CONVAULT_RELATIONS ({key.table} to {key.references}), along which the "
                    "REST API does not go. Add the foreign key, or set DATABASE_URL.",
                    table=table.name,
                )
            asked = embedded(key.references.name, key.columns[0], asked)
        self._depth = len(way)
        self.select = f",{asked}"

    def of(self, page: Sequence[Mapping[str, Any]]) -> list[Any] | None:
        """Of each row: as the root's key is written; None for none. None when it was not asked."""
        return [self._one(row) for row in page] if self.is_asked else None

    def _one(self, row: Any) -> Any:
        for _ in range(self._depth):
            row = row.get("_b")
            if row is None:
                return None
        values = [
            in_utc(row.get(alias)) if column.type.endswith("with time zone") else row.get(alias)
            for alias, column in self._keys
        ]
        if len(values) == 1:
            is_number = self._keys[0][1].encoding == "integer" and values[0] is not None
            return int(values[0]) if is_number else values[0]
        if any(value is None for value in values):
            return None
        return f"({','.join(map(_field, values))})"


def _field(value: Any) -> str:
    """As Postgres writes a field of a row."""
    text = ("t" if value else "f") if isinstance(value, bool) else str(value)
    if text and not re.search(r'[\s",()\\]', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'
