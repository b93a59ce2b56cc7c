"""Readers of a stored part that know nothing of Convault: zstandard, json, Polars, DuckDB.

Each takes the bytes of a part that has columns, and gives its rows as tuples.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import duckdb
import polars as pl
import zstandard

from convault.models import BackupFormat, Column

Row = tuple[object, ...]
Decoder = Callable[[bytes, Sequence[Column]], list[Row]]

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_POLARS = {"boolean": pl.Boolean, "integer": pl.Int64, "text": pl.String}
_DUCKDB = {"boolean": "BOOLEAN", "integer": "BIGINT", "text": "VARCHAR"}


def unpacked(data: bytes) -> bytes:
    """What is in the zstd frames; data that is not compressed as it is."""
    if not data.startswith(_ZSTD_MAGIC):
        return data
    reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
    return reader.read()


def by_json(data: bytes, columns: Sequence[Column]) -> list[Row]:
    lines = [json.loads(line) for line in unpacked(data).decode().split("\n")[:-1]]
    assert all(list(line) == [column.name for column in columns] for line in lines)
    return [tuple(line.values()) for line in lines]


def csv_by_polars(data: bytes, columns: Sequence[Column]) -> list[Row]:
    plain = unpacked(data)
    # Of the names Polars would not undo the quotes within, and of the values Python's own reader
    # does not tell NULL from empty: each reads what it can.
    names = next(csv.reader(io.StringIO(plain.decode(), newline=""), strict=True))
    assert names == [column.name for column in columns]
    schema = {f"c{n}": _POLARS[column.encoding] for n, column in enumerate(columns)}
    body = plain[len(_header(names)) :]
    return pl.read_csv(
        io.BytesIO(body), has_header=False, schema=schema, raise_if_empty=False
    ).rows()


def csv_by_duckdb(data: bytes, columns: Sequence[Column]) -> list[Row]:
    types = {column.name: _DUCKDB[column.encoding] for column in columns}
    with _file(unpacked(data), ".csv") as path:
        return (
            _duckdb()
            .execute(
                "SELECT * FROM read_csv(?, header = true, auto_detect = false, delim = ',',"
                " quote = '\"', escape = '\"', new_line = '\\r\\n', allow_quoted_nulls = false,"
                " max_line_size = 50000000, columns = ?)",
                [str(path), types],
            )
            .fetchall()
        )


def parquet_by_polars(data: bytes, columns: Sequence[Column]) -> list[Row]:
    frame = pl.read_parquet(io.BytesIO(data))
    assert frame.columns == [column.name for column in columns]
    return frame.rows()


def parquet_by_duckdb(data: bytes, columns: Sequence[Column]) -> list[Row]:
    with _file(data, ".parquet") as path:
        return _duckdb().execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()


def decoded(format: BackupFormat) -> list[Decoder]:
    """The decoders of a format."""
    return {
        BackupFormat.JSON: [by_json],
        BackupFormat.CSV: [csv_by_polars],
        BackupFormat.PARQUET: [parquet_by_polars, parquet_by_duckdb],
    }[format]


@cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    """One for all, which keeps nothing: to open one takes longer than to read with it."""
    return duckdb.connect(config={"threads": 1})


def _header(names: Sequence[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow(names)
    return out.getvalue().encode()


class _file:  # noqa: N801  used like a function
    """A file with these bytes, for what reads nothing but files."""

    def __init__(self, data: bytes, suffix: str) -> None:
        self._data, self._suffix = data, suffix

    def __enter__(self) -> Path:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / f"part{self._suffix}"
        path.write_bytes(self._data)
        return path

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
