"""Parquet: types, row groups that can be read alone, and files for rows without columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convault.errors import IntegrityError
from convault.formats.parquet import Parquet
from convault.models import Column
from tests.formats.rows import column, one_document, table

COLUMNS = [column("id", "integer"), column("body", number=2), column("seen", "boolean", 3)]
ROWS: list[dict[str, object]] = [
    {"id": n, "body": f"{n:05d}" * 100 if n % 7 else None, "seen": n % 2 == 0}
    for n in range(10_000)
]


def test_row_groups_are_about_128_kib_and_have_statistics_but_of_texts() -> None:
    document = one_document(Parquet(), COLUMNS, ROWS)
    metadata = pq.read_metadata(pa.BufferReader(document.data))
    assert metadata.num_row_groups == len(document.frames) == 35
    last = -1
    for number, frame in enumerate(document.frames):
        group = metadata.row_group(number)
        assert group.num_rows == frame.rows
        statistics = group.column(0).statistics
        assert (statistics.min, statistics.max) == (last + 1, last + frame.rows)
        last += frame.rows
        assert group.column(1).statistics is None
        assert {group.column(n).compression for n in range(3)} == {"ZSTD"}


def test_frames_are_the_bytes_of_the_row_groups() -> None:
    """A reader with the footer needs no byte before or behind them."""
    document = one_document(Parquet(), COLUMNS, ROWS)
    footer = int.from_bytes(document.data[-8:-4], "little") + 8
    for number, frame in enumerate(document.frames):
        only = bytearray(len(document.data))
        for start, end in ((frame.offset, frame.offset + frame.length),
                           (len(only) - footer, len(only))):  # fmt: skip
            only[start:end] = document.data[start:end]
        found = pq.ParquetFile(pa.BufferReader(bytes(only))).read_row_group(number)
        first = sum(f.rows for f in document.frames[:number])
        assert found.to_pylist() == ROWS[first : first + frame.rows]


def test_columns_whose_values_repeat_have_a_dictionary_and_no_others() -> None:
    columns = [column("id", "integer"), column("sender", number=2), column("body", number=3),
               column("seen", "integer", 4)]  # fmt: skip
    rows: list[dict[str, object]] = [
        {"id": n, "sender": ("agent", None, "contact")[n % 3], "body": f"{n} " * 50, "seen": n // 3}
        for n in range(3_000)
    ]
    document = one_document(Parquet(), columns, rows)
    metadata = pq.read_metadata(pa.BufferReader(document.data))
    assert metadata.num_row_groups > 1
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        found = [group.column(n).dictionary_page_offset is not None for n in range(4)]
        assert found == [False, True, False, True]
    assert pl.read_parquet(document.data).rows(named=True) == rows


def test_integers_have_the_width_of_their_type() -> None:
    columns = [
        Column("s", 1, "smallint", "integer", False, "", ""),
        Column("i", 2, "integer", "integer", False, "", ""),
        Column("b", 3, "bigint", "integer", False, "", ""),
        Column("y", 4, "boolean", "boolean", False, "", ""),
        Column("n", 5, "numeric", "text", False, "", ""),
    ]
    document = one_document(
        Parquet(), columns, [{"s": -(2**15), "i": 2**31 - 1, "b": -(2**63), "y": None, "n": "NaN"}]
    )
    frame = pl.read_parquet(document.data)
    assert frame.dtypes == [pl.Int16, pl.Int32, pl.Int64, pl.Boolean, pl.String]
    assert frame.rows() == [(-(2**15), 2**31 - 1, -(2**63), None, "NaN")]


@pytest.mark.parametrize(("level", "compression"), [(0, "UNCOMPRESSED"), (1, "ZSTD"), (22, "ZSTD")])
def test_the_level_is_that_of_the_zstandard_within(level: int, compression: str) -> None:
    (document,) = Parquet().serialize(table(COLUMNS, ROWS), COLUMNS, 1 << 30, level)
    group = pq.read_metadata(pa.BufferReader(document.data)).row_group(0)
    assert group.column(1).compression == compression


def test_a_file_that_comes_out_too_large_is_made_again_as_two() -> None:
    columns = [column(f"c{n}", "integer", n) for n in range(40)]
    rows = [{c.name: None for c in columns} for _ in range(64)]
    documents = Parquet().serialize(table(columns, rows), columns, 12_000, 3)  # type: ignore[arg-type]
    assert 1 < len(documents) < 64
    assert sum(d.rows for d in documents) == 64
    assert all(len(d.data) <= 12_000 for d in documents)


def test_rows_without_columns_have_one_of_nulls(tmp_path: Path) -> None:
    document = one_document(Parquet(), [], [{}] * 3)
    file = tmp_path / "part.parquet"
    file.write_bytes(document.data)
    assert duckdb.sql(f"SELECT count(*), count(_) FROM '{file}'").fetchall() == [(3, 0)]
    assert pl.read_parquet(file).rows() == [(None,)] * 3


@pytest.mark.parametrize(
    ("name", "values"),
    [("body", ["x" * 1000] * 20_000), ("id", [None] * 1_000_000)],
    ids=["texts by a dictionary", "values of no bytes"],
)
def test_a_few_bytes_that_stand_for_many_are_refused_before_they_are_made(
    name: str, values: list[object]
) -> None:
    columns = [c for c in COLUMNS if c.name == name]
    schema = pa.schema([(name, pa.string() if name == "body" else pa.int64())])
    bomb = pa.BufferOutputStream()
    pq.write_table(
        pa.table({name: values}, schema), bomb, row_group_size=10**7, compression="zstd",
        store_schema=False,
    )  # fmt: skip
    data = bomb.getvalue().to_pybytes()
    assert len(data) < 5000
    before = pa.total_allocated_bytes()
    peak = pa.default_memory_pool().max_memory()
    with pytest.raises(IntegrityError):
        list(Parquet().read(data, columns))
    grown = (pa.default_memory_pool().max_memory() or 0) - max(peak or 0, before)
    assert grown < 8 * 2**20


def test_groups_are_read_some_at_a_time_and_a_large_one_alone() -> None:
    columns = [column("id", "integer", 1), column("body", "text", 2)]
    small: Any = [{"id": n, "body": f"{n} " * 2000} for n in range(2000)]
    large: Any = [{"id": 2000, "body": "x" * 5_000_000}]
    document = one_document(Parquet(), columns, [*small[:1000], *large, *small[1000:]])
    groups = pq.read_metadata(pa.BufferReader(document.data)).num_row_groups
    found = list(Parquet().read(document.data, columns))
    assert groups > 100
    assert len(found) < groups / 10
    assert [rows.count for rows in found if rows.frame["id"].is_in([2000]).any()] == [1]
    whole = pl.concat([rows.frame for rows in found])
    assert whole.rows(named=True) == [*small[:1000], *large, *small[1000:]]
