"""Rows as `COPY FROM STDIN` takes them in its text format."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl

from convault.formats.base import Rows
from convault.formats.writing import written
from convault.models import Column

_MEANS_SOMETHING = r"[\\\n\r\t]"


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
    escaped = frame.select(_escaped(frame, columns, wanted))
    return written(
        partial(
            escaped.write_csv,
            include_header=False, separator="\t", null_value="\\N", quote_style="never",
        )
    )  # fmt: skip


def loadable(columns: Sequence[Column]) -> list[Column]:
    """The columns that COPY may write: those that are not generated."""
    return [column for column in columns if not column.generated]


def numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with "0", "1", ... for the names of its columns."""
    renamed = frame.clone()
    renamed.columns = [str(number) for number in range(frame.width)]
    return renamed


def _escaped(
    frame: pl.DataFrame, columns: Sequence[Column], wanted: Sequence[int]
) -> list[pl.Expr]:
    """The wanted columns with escapes. Few hold anything to escape, and to look for it once costs
    a tenth of replacing it four times."""
    texts = [str(number) for number in wanted if columns[number].encoding == "text"]
    found = frame.select(pl.col(texts).str.contains(_MEANS_SOMETHING).any()) if texts else None
    held = [name for name in texts if found is not None and found[name].item()]
    return [_replaced(str(n)) if str(n) in held else pl.col(str(n)) for n in wanted]


def _replaced(name: str) -> pl.Expr:
    """The four characters that mean something in COPY's text format; the backslash goes first."""
    expression = pl.col(name)
    for character, escape in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        expression = expression.str.replace_all(character, escape, literal=True)
    return expression
