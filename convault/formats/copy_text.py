"""Rows as `COPY FROM STDIN` takes them in its text format."""

from __future__ import annotations

import io
from collections.abc import Sequence

import polars as pl

from convault.formats.base import Rows
from convault.models import Column


def to_copy_text(
    rows: Rows, columns: Sequence[Column], chosen: Sequence[Column] | None = None
) -> bytes:
    """The rows, tab-separated: of `columns`, which `rows` has in this order, those with the names
    of the `chosen` ones, or all but the generated ones, which cannot be loaded."""
    numbers = {column.name: number for number, column in enumerate(columns)}
    wanted = [numbers[c.name] for c in (loadable(columns) if chosen is None else chosen)]
    if not wanted:
        return b"\n" * rows.count
    # By number, because Polars takes a column called `*` or `^a$` for a pattern.
    frame = numbered(rows.frame)
    buffer = io.BytesIO()
    frame.select([_escaped(n, columns[n]) for n in wanted]).write_csv(
        buffer, include_header=False, separator="\t", null_value="\\N", quote_style="never"
    )
    return buffer.getvalue()


def loadable(columns: Sequence[Column]) -> list[Column]:
    """The columns that COPY may write: those that are not generated."""
    return [column for column in columns if not column.generated]


def numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with "0", "1", ... for the names of its columns."""
    renamed = frame.clone()
    renamed.columns = [str(number) for number in range(frame.width)]
    return renamed


def _escaped(number: int, column: Column) -> pl.Expr:
    """The four characters that mean something in COPY's text format; the backslash goes first."""
    expression = pl.col(str(number))
    if column.encoding != "text":
        return expression
    for character, escape in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        expression = expression.str.replace_all(character, escape, literal=True)
    return expression
