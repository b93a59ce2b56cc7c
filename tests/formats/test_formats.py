"""What every format must do: any rows come back, by other decoders and by Convault's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from convault.errors import IntegrityError
from convault.formats.base import FRAME_BYTES, Format
from convault.formats.copy_text import to_copy_text
from convault.formats.registry import format_of, format_of_name
from convault.models import BackupFormat
from tests.formats.decoders import by_json, csv_by_duckdb, csv_by_polars, decoded, unpacked
from tests.formats.rows import (
    Made,
    column,
    copied,
    copy_text,
    one_document,
    parse_copy,
    table,
    tables,
)
from tests.soak import count

FORMATS = pytest.mark.parametrize("name", list(BackupFormat))
ODD: Made = (
    [column("a")],
    [{"a": text} for text in ("", None, "\\.", "\\N", None, "\n", "\r\n", " x ", '"', "\ufeff")],
)
BARE: Made = ([], [{}] * 5)


def _values(made: Made) -> list[tuple[object, ...]]:
    columns, rows = made
    return [tuple(row[c.name] for c in columns) for row in rows]


@pytest.mark.soak
@FORMATS
@given(made=tables(), max_bytes=st.integers(1, 3000), level=st.integers(0, 22))
@example(made=ODD, max_bytes=1, level=3)
@example(made=ODD, max_bytes=1 << 20, level=0)
@settings(max_examples=count(60, 2000))
def test_any_rows_come_back(name: BackupFormat, made: Made, max_bytes: int, level: int) -> None:
    columns, rows = made
    format = format_of(name)
    documents = format.serialize(table(columns, rows), columns, max_bytes, level)
    assert all(len(d.data) > 0 for d in documents)
    assert all(len(d.data) <= max_bytes or d.rows == 1 for d in documents)
    assert sum(d.rows for d in documents) == len(rows)
    stored = [format.store(document, level) for document in documents]
    for decoder in decoded(name):
        assert [row for d in stored for row in decoder(d.data, columns)] == _values(made)
    again = [row for d in documents for row in parse_copy(copy_text(format, d.data, columns))]
    assert again == [[copied(value) for value in row] for row in _values(made)]


@pytest.mark.soak
@FORMATS
@given(made=tables(min_columns=0), level=st.integers(0, 4))
@settings(max_examples=count(30, 500))
def test_the_same_rows_make_the_same_bytes(name: BackupFormat, made: Made, level: int) -> None:
    columns, rows = made
    format = format_of(name)

    def stored(pieces: int) -> list[bytes]:
        whole = table(columns, rows)
        if columns and pieces > 1:
            batches = whole.to_batches(max_chunksize=max(1, len(rows) // pieces))
            whole = whole.from_batches(batches, whole.schema)
        documents = format.serialize(whole, columns, 1000, level)
        return [format.store(document, level).data for document in documents]

    assert stored(1) == stored(3)


@FORMATS
def test_the_bytes_do_not_depend_on_the_batches_that_rows_came_in(name: BackupFormat) -> None:
    columns = [column("id", "integer"), column("body", number=2)]
    whole = table(columns, [{"id": n % 999, "body": "x" * (n % 300)} for n in range(20_000)])
    made = set()
    for rows in (20_000, 7001, 13):
        batches = whole.to_batches(max_chunksize=rows)
        (document,) = format_of(name).serialize(
            whole.from_batches(batches, whole.schema), columns, 1 << 30, 3
        )
        made.add(document.data)
    assert len(made) == 1


@FORMATS
@pytest.mark.parametrize("level", [0, 3])
def test_frames_hold_whole_rows_and_follow_one_another(name: BackupFormat, level: int) -> None:
    columns = [column("id", "integer"), column("body", number=2)]
    rows = [{"id": n, "body": ("línea,\r\n" * (n % 400)) or None} for n in range(4000)]
    format = format_of(name)
    plain = one_document(format, columns, rows)
    document = format.store(plain, level)
    with_rows = [frame for frame in document.frames if frame.rows]
    assert sum(frame.rows for frame in with_rows) == 4000
    assert len(with_rows) >= len(plain.data) // FRAME_BYTES >= (0 if name == "parquet" else 5)
    assert len(with_rows) >= 5
    if name == "parquet":
        assert document.data == plain.data
        return  # its row groups are read in test_parquet.py
    at = 0
    for frame in document.frames:
        assert frame.offset == at
        at += frame.length
    assert at == len(document.data)
    head = unpacked(document.data[: document.frames[0].offset + document.frames[0].length])
    seen = 0
    for frame in with_rows:
        piece = unpacked(document.data[frame.offset : frame.offset + frame.length])
        assert len(piece) <= FRAME_BYTES
        decode = by_json if name == "json" else csv_by_polars
        found = decode(piece if name == "json" else head + piece, columns)
        assert found == _values((columns, rows[seen : seen + frame.rows]))
        seen += frame.rows


@FORMATS
def test_a_row_that_is_larger_than_everything_has_a_frame_and_a_document(
    name: BackupFormat,
) -> None:
    columns = [column("a"), column("b")]
    large = 'ç"\\\n\t😀' + "😀" * 2_500_000 + "\\"
    rows = [{"a": "x", "b": None}, {"a": large, "b": None}, {"a": "", "b": large}]
    format = format_of(name)
    documents = format.serialize(table(columns, rows), columns, 1 << 20, 1)
    assert [d.rows for d in documents] == [1, 1, 1]
    whole = one_document(format, columns, rows)
    assert [frame.rows for frame in whole.frames if frame.rows] == [1, 1, 1]
    assert decoded(name)[0](format.store(whole, 1).data, columns) == _values((columns, rows))
    assert parse_copy(copy_text(format, whole.data, columns)) == [list(r.values()) for r in rows]


@FORMATS
def test_no_rows_make_no_document(name: BackupFormat) -> None:
    for columns in ([column("a")], []):
        assert format_of(name).serialize(table(columns, []), columns, 100, 3) == []


@FORMATS
@pytest.mark.parametrize("max_bytes", [1, 6, 1 << 20])
def test_a_table_without_columns_keeps_its_number_of_rows(
    name: BackupFormat, max_bytes: int
) -> None:
    format = format_of(name)
    documents = format.serialize(table(*BARE), [], max_bytes, 3)
    assert sum(d.rows for d in documents) == 5
    assert all(len(d.data) <= max_bytes or d.rows == 1 for d in documents)
    assert b"".join(copy_text(format, d.data, []) for d in documents) == b"\n" * 5


@FORMATS
def test_generated_columns_are_stored_and_not_loaded(name: BackupFormat) -> None:
    columns = [column("a"), column("g", "integer", 2, "s"), column("b", "boolean", 3)]
    document = one_document(format_of(name), columns, [{"a": "x", "g": 7, "b": True}])
    assert decoded(name)[0](document.data, columns) == [("x", 7, True)]
    assert copy_text(format_of(name), document.data, columns) == b"x\ttrue\n"
    (rows,) = format_of(name).read(document.data, columns)
    assert to_copy_text(rows, columns, [columns[1], columns[0]]) == b"7\tx\n"
    only = [column("g", "integer", 1, "s")]
    document = one_document(format_of(name), only, [{"g": 7}, {"g": 7}])
    assert copy_text(format_of(name), document.data, only) == b"\n\n"


@FORMATS
def test_400_columns_come_back(name: BackupFormat) -> None:
    kinds = ["text", "integer", "boolean"]
    columns = [column(f'c"{n}', kinds[n % 3], n + 1) for n in range(400)]
    values: dict[str, object] = {"text": "ça", "integer": -1, "boolean": False}
    rows = [{c.name: values[c.encoding] if i % 2 else None for c in columns} for i in range(50)]
    document = one_document(format_of(name), columns, rows)
    for decoder in decoded(name):
        assert decoder(document.data, columns) == _values((columns, rows))


@FORMATS
def test_another_table_than_the_columns_is_a_mistake(name: BackupFormat) -> None:
    with pytest.raises(ValueError, match="columns"):
        format_of(name).serialize(table([column("a")], []), [column("b")], 100, 3)


@FORMATS
def test_what_is_of_other_columns_or_cut_off_is_refused_without_a_value(
    name: BackupFormat,
) -> None:
    columns = [column("a"), column("b", "integer", 2)]
    rows: list[dict[str, object]] = [{"a": "secret", "b": 4}, {"a": "secret\n", "b": 5}]
    data = one_document(format_of(name), columns, rows).data
    others = [
        [column("a")],
        [column("b", "integer"), column("a")],
        [*columns, column("c")],
        [column("a"), column("c", "integer")],
        [column("a", "integer"), column("b", "integer")],
        [],
    ]
    for other, part in [*((other, data) for other in others), (columns, data[:-1]),
                        (columns, b"secret"), (columns, b"\xff\xfe\r\n")]:  # fmt: skip
        with pytest.raises(IntegrityError) as caught:
            copy_text(format_of(name), part, other)
        assert "secret" not in caught.value.message
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "level", "suffix"),
    [("json", 0, ".ndjson"), ("json", 1, ".ndjson.zst"), ("csv", 0, ".csv"),
     ("csv", 22, ".csv.zst"), ("parquet", 0, ".parquet"), ("parquet", 3, ".parquet")],
)  # fmt: skip
def test_a_part_tells_its_format_by_its_name(name: BackupFormat, level: int, suffix: str) -> None:
    format = format_of(BackupFormat(name))
    assert format.suffix(level) == suffix
    for ending in ("", ".age"):
        assert format_of_name(f"a.csv/messages/00000{suffix}{ending}") is format


@pytest.mark.parametrize("name", ["a/b.txt", "csv", "a.ndjson/b", "data/x.csv/", ""])
def test_another_name_is_no_part(name: str) -> None:
    with pytest.raises(ValueError, match="not the name of a part"):
        format_of_name(name)


@pytest.fixture(scope="module")
def connection(cluster_of: object) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    url = cluster_of(16).url()  # type: ignore[operator]
    # Not prepared: the table is another one for each example.
    with closing(psycopg.connect(url, autocommit=True, prepare_threshold=None)) as opened:
        yield opened


@pytest.mark.soak
@given(made=tables(min_columns=0), max_bytes=st.integers(1, 2000))
@example(made=ODD, max_bytes=1 << 20)
@example(made=BARE, max_bytes=1 << 20)
@settings(max_examples=count(60, 2000))
def test_copy_reads_csv_as_it_is(
    connection: psycopg.Connection[tuple[object, ...]], made: Made, max_bytes: int
) -> None:
    """Postgres 16, whose COPY still ends at a line with nothing but `\\.`."""
    columns, rows = made
    # An identifier has at most 63 bytes; COPY takes fields by their place.
    names = [sql.Identifier(f"c{n}") for n in range(len(columns))]
    parts = [
        sql.SQL("{} {}").format(n, sql.SQL(c.type)) for n, c in zip(names, columns, strict=True)
    ]  # type: ignore[arg-type]
    connection.execute("DROP TABLE IF EXISTS t")
    connection.execute(sql.SQL("CREATE TEMP TABLE t ({})").format(sql.SQL(", ").join(parts)))
    csv: Format = format_of(BackupFormat.CSV)
    for document in csv.serialize(table(columns, rows), columns, max_bytes, 0):
        with connection.cursor() as cursor:
            with cursor.copy("COPY t FROM STDIN (FORMAT csv, HEADER)") as load:
                load.write(document.data)
            assert cursor.rowcount == document.rows
    assert connection.execute("SELECT * FROM t ORDER BY ctid").fetchall() == _values(made)


@pytest.mark.soak
@given(made=tables())
@example(made=ODD)
@settings(max_examples=count(15, 300))
def test_duckdb_reads_csv(made: Made) -> None:
    columns, rows = made
    # DuckDB folds the case of names.
    rows = [{f"c{n}": row[c.name] for n, c in enumerate(columns)} for row in rows]
    columns = [column(f"c{n}", c.encoding, n) for n, c in enumerate(columns)]
    if rows:
        document = one_document(format_of(BackupFormat.CSV), columns, rows)
        assert csv_by_duckdb(document.data, columns) == _values((columns, rows))
