"""Every value of every Postgres type, as exact text: what is selected, and how it is encoded.

Booleans and the integers travel as they are. Everything else travels as the text of the type's own
output function, which is what `COPY` and `pg_dump` write and what the input function takes back.
"""

from __future__ import annotations

import re

from convault.models import Column, Encoding

_ENCODINGS: dict[str, Encoding] = {
    "boolean": "boolean",
    "smallint": "integer",
    "integer": "integer",
    "bigint": "integer",
}

_EXACT_CASTS = re.compile(r"text|xml|character varying(\(\d+\))?")
"""Types (as format_type spells them) whose built-in cast to text hands over the stored characters.

Of `xml` the output function loses the XML declaration, the cast does not. The cast of a type that
is not listed here may lose something (`character(n)`: trailing blanks) or be somebody's own
function: CREATE CAST (uuid AS text) WITH FUNCTION is possible.
"""


def encoding_of(type: str) -> Encoding:
    """How values of a column stand in a part; `type` is format_type() under an empty search_path,
    so that a user's type called `integer` has its schema before it and is text."""
    return _ENCODINGS.get(type, "text")


def value_expression(column: Column, qualifier: str = "") -> str:
    """The column as boolean, integer or text, NULL for NULL; `qualifier` is what SQL
    calls the table, where that is needed.

    `concat` calls the type's output function and looks it up once per query (`format('%s')` does
    so for every row). It makes '' of NULL, hence the CASE; `IS DISTINCT FROM NULL` looks at the
    value as a whole, where `IS NOT NULL` calls a composite of NULLs NULL.
    """
    name = f"{qualifier}.{quoted(column.name)}" if qualifier else quoted(column.name)
    if encoding_of(column.type) != "text":
        return name
    if _EXACT_CASTS.fullmatch(column.type):
        return f"{name}::pg_catalog.text"
    output = f"pg_catalog.concat({name})"
    if column.type == '"char"':
        output = f"CASE WHEN {name}::pg_catalog.int4 < 0 THEN {_octal(name)} ELSE {output} END"
    return f"CASE WHEN {name} IS DISTINCT FROM NULL THEN {output} END"


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _octal(name: str) -> str:
    r"""Postgres 16 writes the upper half of "char" as \ooo; before, it wrote a lone byte, which is
    no UTF-8 and no driver takes."""
    byte = f"({name}::pg_catalog.int4 + 256)"
    digits = " || ".join(f"({byte} / {place} % 8)::pg_catalog.text" for place in (64, 8, 1))
    return f"'\\' || {digits}"
