"""The protocol of a format: how rows become documents, and documents rows again.

A *document* is what one part holds before it is compressed or encrypted as a whole (the manifest's
"plain bytes"): NDJSON, CSV, or a Parquet file, which compresses within.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import polars as pl
import pyarrow as pa

from convault.models import Column

FRAME_BYTES = 64 * 1024
"""plain bytes of a frame of NDJSON or CSV, about: what can be fetched and read alone. A
conversation with a row in every part is read in as many frames as there are parts, so that a frame
must be well below 1 % of a part"""

POLARS_TYPES: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "integer": pl.Int64(),
    "text": pl.String(),
}
"""of each encoding"""


class Frame(NamedTuple):
    """Whole rows within a document, which can be fetched and read without the rest."""

    offset: int
    """bytes"""
    length: int
    """bytes"""
    rows: int
    """0 for the frame that holds a CSV's header"""


class Document(NamedTuple):
    """Some rows, serialised."""

    data: bytes
    rows: int
    frames: tuple[Frame, ...]
    """in the order of the rows; all rows are in one of them"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows, read back: booleans, integers of any width, texts."""

    frame: pl.DataFrame
    count: int
    """also of rows without columns, which a frame cannot count"""


class Format(Protocol):
    """One way to write rows. Has no state; may be used by any thread."""

    name: str
    """as a data package calls it"""
    media_type: str

    def suffix(self, level: int) -> str:
        """How the name of a part ends at that level of compression, such as `.ndjson.zst`."""

    def serialize(
        self, table: pa.Table, columns: Sequence[Column], max_bytes: int, level: int
    ) -> list[Document]:
        """The rows in their order, as documents of at most `max_bytes` (a row that is larger gets a
        document of its own). No rows make no document. The same bytes for the same rows, level and
        library. ValueError unless `table` has `columns`, in this order."""

    def store(self, document: Document, level: int) -> Document:
        """The document as it is stored, with the frames' places in that."""

    def read(self, data: bytes, columns: Sequence[Column]) -> Iterator[Rows]:
        """The rows of a document, some at a time. IntegrityError when `data` is not what
        `serialize` makes of these columns."""


def check_columns(table: pa.Table, columns: Sequence[Column]) -> None:
    """ValueError unless the table has these columns, in this order."""
    if table.column_names != [column.name for column in columns]:
        raise ValueError("the table does not have the columns it should have")


def cut(ends: Sequence[int], max_bytes: int) -> Iterator[tuple[int, int]]:
    """Rows [first, end) of as many bytes as `max_bytes` allows, or of one row. `ends` has one place
    more than there are rows: row n lies in bytes [ends[n], ends[n + 1])."""
    first, rows = 0, len(ends) - 1
    while first < rows:
        end = bisect_right(ends, ends[first] + max_bytes, first + 1, rows + 1) - 1
        end = max(end, first + 1)
        yield first, end
        first = end
