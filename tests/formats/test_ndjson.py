"""Rows as NDJSON, and back as COPY's text format; Python's json and csv say what is right."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable

import duckdb
import polars as pl
import psycopg
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convault.errors import IntegrityError
from convault.formats import ndjson
from convault.models import Column
from tests.formats.round_trip import round_trip

ARROW = {"boolean": pa.bool_(), "integer": pa.int64(), "text": pa.string()}
POSTGRES = {"boolean": "boolean", "integer": "bigint", "text": "text"}

# What Postgres can hold: no NUL, no surrogate.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = {
    "boolean": st.none() | st.booleans(),
    "integer": st.none() | st.integers(-(2**63), 2**63 - 1),
    "text": st.none() | TEXT | st.sampled_from(["\\N", "\\.", "", "null", "{}", "\u2028", "\r\n"]),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], list[dict[str, object]]]:
    names = draw(st.lists(TEXT.filter(bool), min_size=1, max_size=5, unique=True))
    columns = [
        _column(name, draw(st.sampled_from(sorted(VALUES))), number)
        for number, name in enumerate(names, 1)
    ]
    row = st.fixed_dictionaries({c.name: VALUES[c.encoding] for c in columns})
    return columns, draw(st.lists(row, max_size=8))


def _column(name: str, encoding: str = "text", number: int = 1, generated: str = "") -> Column:
    return Column(name, number, POSTGRES[encoding], encoding, False, generated, "")  # type: ignore[arg-type]


def _table(columns: list[Column], rows: list[dict[str, object]]) -> pa.Table:
    schema = pa.schema([(column.name, ARROW[column.encoding]) for column in columns])
    return pa.Table.from_pylist(rows, schema=schema)


def _document(columns: list[Column], rows: list[dict[str, object]]) -> bytes:
    return b"".join(d.data for d in ndjson.serialize(_table(columns, rows), columns, 1 << 20))


def _parse_copy(data: bytes) -> list[list[str | None]]:
    """COPY's text format as the documentation describes it."""
    escapes = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}

    def field(text: str) -> str | None:
        if text == "\\N":
            return None
        return re.sub(r"\\(.)", lambda m: escapes[m[1]], text, flags=re.DOTALL)

    lines = data.decode().split("\n")
    assert lines.pop() == ""
    return [[field(text) for text in line.split("\t")] for line in lines]


def _copied(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


@given(tables(), st.integers(1, 200))
@example(([_column("a")], [{"a": ""}, {"a": None}, {"a": "\\."}, {"a": "\\N"}]), 1)
def test_any_rows_come_back(
    made: tuple[list[Column], list[dict[str, object]]], max_bytes: int
) -> None:
    columns, rows = made
    documents = ndjson.serialize(_table(columns, rows), columns, max_bytes)
    lines = [json.loads(line) for d in documents for line in d.data.decode().split("\n")[:-1]]
    assert lines == rows
    assert [list(line) for line in lines] == [[c.name for c in columns]] * len(rows)
    assert [d.rows for d in documents] == [d.data.count(b"\n") for d in documents]
    assert all(len(d.data) <= max_bytes or d.rows == 1 for d in documents)
    copied = [row for d in documents for row in _parse_copy(ndjson.to_copy_text(d.data, columns))]
    assert copied == [[_copied(row[c.name]) for c in columns] for row in rows]


def test_documents_are_as_large_as_they_may_be() -> None:
    columns = [_column("a")]
    rows: list[dict[str, object]] = [{"a": "x" * size} for size in (1, 1, 1, 50, 1, 2)]
    # A line of one character has 10 bytes.
    documents = ndjson.serialize(_table(columns, rows), columns, 20)
    assert [(len(d.data), d.rows) for d in documents] == [
        (20, 2),
        (10, 1),
        (59, 1),
        (10, 1),
        (11, 1),
    ]


def test_no_rows_make_no_document() -> None:
    columns = [_column("a")]
    assert ndjson.serialize(_table(columns, []), columns, 100) == []
    assert ndjson.to_copy_text(b"", columns) == b""


def test_a_table_without_columns_keeps_its_number_of_rows() -> None:
    batch = pa.RecordBatch.from_struct_array(pa.array([{}] * 5, pa.struct([])))
    documents = ndjson.serialize(pa.Table.from_batches([batch]), [], 6)
    assert [(d.data, d.rows) for d in documents] == [
        (b"{}\n{}\n", 2),
        (b"{}\n{}\n", 2),
        (b"{}\n", 1),
    ]
    assert ndjson.to_copy_text(b"{}\n{}\n", []) == b"\n\n"


def test_generated_columns_are_stored_and_not_loaded() -> None:
    columns = [_column("a"), _column("g", "integer", 2, "s"), _column("b", "boolean", 3)]
    document = _document(columns, [{"a": "x", "g": 7, "b": True}])
    assert json.loads(document) == {"a": "x", "g": 7, "b": True}
    assert ndjson.to_copy_text(document, columns) == b"x\ttrue\n"
    assert ndjson.loadable(columns) == [columns[0], columns[2]]


def test_a_table_of_generated_columns_only_keeps_its_number_of_rows() -> None:
    columns = [_column("g", "integer", 1, "s")]
    document = _document(columns, [{"g": 7}, {"g": 7}])
    assert ndjson.to_copy_text(document, columns) == b"\n\n"


def test_a_value_of_10_mb_comes_back() -> None:
    columns = [_column("a"), _column("b")]
    value = 'ç"\\\n\t😀' + "😀" * 2_500_000 + "\\"
    document = _document(columns, [{"a": value, "b": None}, {"a": "", "b": value}])
    assert _parse_copy(ndjson.to_copy_text(document, columns)) == [[value, None], ["", value]]


@pytest.mark.parametrize(
    "document",
    [
        b'{"a":"x"}\n',
        b'{"a":"x","b":1,"c":2}\n',
        b'{"b":1,"a":"x"}\n',
        b'{"a":"x","b":"secret"}\n',
        b'{"a":"x","b":1.5}\n',
        b'{"a":"x","b":9223372036854775808}\n',
        b'{"a":"x","b":1}',
        b'{"a":"x","b":1}\n{"a":"secret',
        b"secret\n",
        b"\xff\n",
        b"[]\n",
        b"1\n",
    ],
)
def test_what_is_not_of_these_columns_is_refused_without_a_value(document: bytes) -> None:
    columns = [_column("a"), _column("b", "integer", 2)]
    with pytest.raises(IntegrityError) as caught:
        ndjson.to_copy_text(document, columns)
    assert "secret" not in caught.value.message
    assert caught.value.__suppress_context__


def test_another_table_than_the_columns_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="columns"):
        ndjson.serialize(_table([_column("a")], []), [_column("b")], 100)


def test_polars_and_duckdb_read_it(tmp_path: object) -> None:
    columns = [_column("id", "integer"), _column("body", number=2)]
    rows: list[dict[str, object]] = [{"id": 2**53 + 1, "body": "Olá\n"}, {"id": None, "body": None}]
    document = _document(columns, rows)
    schema = {"id": pl.Int64, "body": pl.String}
    assert pl.read_ndjson(io.BytesIO(document), schema=schema).to_dicts() == rows
    file = f"{tmp_path}/part.ndjson"
    with open(file, "wb") as out:  # noqa: PTH123
        out.write(document)
    found = duckdb.sql(f"SELECT * FROM read_json('{file}', format='newline_delimited')").fetchall()
    assert found == [(2**53 + 1, "Olá\n"), (None, None)]


def test_postgres_takes_every_text_and_every_column_name(database: str) -> None:
    names = [
        'a"b',
        "back\\slash",
        "tab\tnew\nline",
        "percent%s",
        "{brace}",
        "ção 😀",
        "\u2028",
        "A b",
    ]
    texts = [
        "",
        "\\N",
        "\\.",
        "\\",
        "\t",
        "\n",
        "\r\n",
        "\\n",
        '"',
        "'",
        "NULL",
        "😀\u2028\x01\x7f",
    ]
    with psycopg.connect(database) as connection:
        quoted = ", ".join('"' + name.replace('"', '""') + '" text' for name in names)
        connection.execute(f"CREATE TABLE public.t ({quoted})".encode())
        connection.execute("CREATE TABLE public.one (c text)")
        for text in texts:
            places = ", ".join(["%s"] * len(names))
            connection.execute(f"INSERT INTO public.t VALUES ({places})", [text] * len(names))
            connection.execute("INSERT INTO public.one VALUES (%s), (NULL)", [text])
    with round_trip(database) as trip:
        lines = [json.loads(line) for line in trip.survives("public.t").split("\n")[:-1]]
        trip.survives("public.one")
    assert lines == [dict.fromkeys(names, text) for text in texts]


def test_integers_keep_all_64_bits_and_generated_values_are_made_again(
    any_cluster: object, new_database: Callable[[object], str]
) -> None:
    url = new_database(any_cluster)
    with psycopg.connect(url) as connection:
        connection.execute("""
            CREATE TABLE public.t (
                s smallint, i integer, b bigint, g bigint GENERATED ALWAYS AS (s + 1) STORED,
                y boolean, n bigint GENERATED ALWAYS AS IDENTITY);
            INSERT INTO public.t (s, i, b, y) VALUES
                (-32768, -2147483648, -9223372036854775808, true),
                (32766, 2147483647, 9223372036854775807, false), (NULL, NULL, NULL, NULL);
        """)
    with round_trip(url) as trip:
        first = trip.survives("public.t").split("\n")[0]
    assert first == (
        '{"s":-32768,"i":-2147483648,"b":-9223372036854775808,"g":-32767,"y":true,"n":1}'
    )
