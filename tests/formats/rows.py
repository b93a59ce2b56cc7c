"""Rows for tests of formats: columns, values that are special somewhere, strategies."""

from __future__ import annotations

import re

import pyarrow as pa
from hypothesis import strategies as st

from convault.formats.base import Document, Format
from convault.formats.copy_text import to_copy_text
from convault.models import Column

ARROW = {"boolean": pa.bool_(), "integer": pa.int64(), "text": pa.string()}
POSTGRES = {"boolean": "boolean", "integer": "bigint", "text": "text"}

# What Postgres can hold: no NUL, no surrogate.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ODD_TEXTS = ["\\N", "\\.", "", "null", "NULL", "{}", "\u2028", "\r\n", "\r", "\n", '"', '""', ",",
             " a", "a ", "\ufeff", "\t", "a\r\n\\.\r\nb", "1", "true", "#", "\x01\x7f"]  # fmt: skip
VALUES = {
    "boolean": st.none() | st.booleans(),
    "integer": st.none() | st.integers(-(2**63), 2**63 - 1),
    "text": st.none() | TEXT | st.sampled_from(ODD_TEXTS),
}
NAMES = TEXT.filter(bool) | st.sampled_from([text for text in ODD_TEXTS if text] + ["*", "^a$"])

Made = tuple[list[Column], list[dict[str, object]]]


@st.composite
def tables(draw: st.DrawFn, min_columns: int = 1) -> Made:
    """Columns and rows. Rows repeat often enough for dictionaries and for ties."""
    names = draw(st.lists(NAMES, min_size=min_columns, max_size=5, unique=True))
    columns = [
        column(name, draw(st.sampled_from(sorted(VALUES))), number)
        for number, name in enumerate(names, 1)
    ]
    row = st.fixed_dictionaries({c.name: VALUES[c.encoding] for c in columns})
    return columns, draw(st.lists(row, max_size=8))


def column(name: str, encoding: str = "text", number: int = 1, generated: str = "") -> Column:
    return Column(name, number, POSTGRES[encoding], encoding, False, generated, "")  # type: ignore[arg-type]


def table(columns: list[Column], rows: list[dict[str, object]]) -> pa.Table:
    if not columns:
        batch = pa.RecordBatch.from_struct_array(pa.array([{}] * len(rows), pa.struct([])))
        return pa.Table.from_batches([batch])
    schema = pa.schema([(column.name, ARROW[column.encoding]) for column in columns])
    return pa.Table.from_pylist(rows, schema=schema)


def parse_copy(data: bytes) -> list[list[str | None]]:
    """COPY's text format as the documentation describes it."""
    escapes = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}

    def field(text: str) -> str | None:
        if text == "\\N":
            return None
        return re.sub(r"\\(.)", lambda m: escapes[m[1]], text, flags=re.DOTALL)

    lines = data.decode().split("\n")
    assert lines.pop() == ""
    return [[field(text) for text in line.split("\t")] for line in lines]


def copied(value: object) -> str | None:
    """As `parse_copy` gives it."""
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def copy_text(format: Format, data: bytes, columns: list[Column]) -> bytes:
    """What a restore hands to COPY for a plain document."""
    return b"".join(to_copy_text(rows, columns) for rows in format.read(data, columns))


def one_document(format: Format, columns: list[Column], rows: list[dict[str, object]]) -> Document:
    (document,) = format.serialize(table(columns, rows), columns, 1 << 30, 3)
    return document
