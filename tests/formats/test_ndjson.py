"""Rows as NDJSON, and back as COPY's text format."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import duckdb
import polars as pl
import psycopg
import pytest

from convault.errors import IntegrityError
from convault.formats.ndjson import Ndjson
from tests.formats.round_trip import round_trip
from tests.formats.rows import column as _column
from tests.formats.rows import copy_text, one_document
from tests.formats.rows import table as _table

NDJSON = Ndjson()


def test_documents_are_as_large_as_they_may_be() -> None:
    columns = [_column("a")]
    rows: list[dict[str, object]] = [{"a": "x" * size} for size in (1, 1, 1, 50, 1, 2)]
    # A line of one character has 10 bytes.
    documents = NDJSON.serialize(_table(columns, rows), columns, 20, 3)
    assert [(len(d.data), d.rows) for d in documents] == [
        (20, 2),
        (10, 1),
        (59, 1),
        (10, 1),
        (11, 1),
    ]


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
        copy_text(NDJSON, document, columns)
    assert "secret" not in caught.value.message
    assert caught.value.__suppress_context__


def test_polars_and_duckdb_read_it(tmp_path: object) -> None:
    columns = [_column("id", "integer"), _column("body", number=2)]
    rows: list[dict[str, object]] = [{"id": 2**53 + 1, "body": "Olá\n"}, {"id": None, "body": None}]
    document = one_document(NDJSON, columns, rows).data
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
