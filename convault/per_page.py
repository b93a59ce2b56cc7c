"""What is told of a backup whose rows were read page by page, without a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from convault.models import TableName


@dataclass(frozen=True, slots=True)
class Missing:
    """Rows that rows of the backup refer to, and that were gone when they were asked for."""

    columns: tuple[str, ...]
    references: TableName
    values: int
    """how many"""


@dataclass(frozen=True, slots=True)
class Reading:
    """When and how a table was read. Between the two times its rows may have changed: what was
    changed twice may be in the backup in a state that the table never had as a whole."""

    first_page_at: str
    """ISO 8601, by the server's clock where it tells it"""
    last_page_at: str
    counted_before: int
    counted_after: int
    late: int = 0
    """rows that came in behind the page that was being read, or that another table's rows refer to,
    and were fetched by key afterwards"""
    gone: int = 0
    """rows of the backup that had been deleted when all pages were read, as far as known"""
    missing: tuple[Missing, ...] = ()


LACKS: tuple[str, ...] = (
    "checks, unique and exclusion constraints, foreign keys of several columns",
    "indexes other than primary keys",
    "defaults, identities, sequences and generated columns",
    "triggers and functions",
    "row security policies and privileges",
    "partitions and inheritance: their rows are those of the table that is exposed",
    "tables that the REST API does not expose to the key",
)
"""What the REST API does not tell of a schema, so that a backup made through it lacks it."""


def told_of(consistency: str) -> dict[str, str]:
    """What the row's metrics say of it, for lists: nothing of a snapshot."""
    return {"consistency": consistency} if consistency == "per-page" else {}


def warnings(readings: Mapping[TableName, Reading]) -> Iterator[str]:
    """Sentences for people: names and numbers, never values."""
    for table, reading in readings.items():
        if reading.late or reading.gone:
            yield (
                f"{table} was changed while it was read (by REST there is no snapshot):"
                f" {reading.late} rows came late and were fetched by key, {reading.gone} rows of"
                " the backup are deleted by now."
            )
        for gap in reading.missing:
            yield (
                f"{gap.values} rows of {gap.references}, to which rows of {table} in this backup"
                f" refer by {', '.join(gap.columns)}, were deleted while it was made: these"
                " references lead nowhere."
            )
