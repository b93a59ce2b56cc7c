"""What a backup holds of a table so far: 8 bytes a row, from which is told what it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from convault.models import Dataset, ForeignKey, Range, Table, TableName
from convault.sources.rest.api import Page
from convault.sources.rest.asking import Key
from convault.sources.rest.rows import NONE, hashed, together, values_of


@dataclass(frozen=True, slots=True)
class Carried:
    """A batch of rows that was handed over."""

    rows: int
    place: Key | int
    """where to go on behind it: the key of its last row, or the number of a lot"""
    at: str
    own: pl.Series
    """of the primary keys"""
    values: dict[tuple[str, ...], pl.Series]
    """of columns that refer to rows, or are referred to"""


@dataclass(slots=True)
class Holding:
    """Of one table. Each range is written by one thread at a time."""

    table: Table
    columns: tuple[tuple[str, ...], ...]
    """that refer to rows of the dataset, or are referred to"""
    counted_before: int = 0
    counted_after: int = 0
    gone: int = 0
    finished: bool = False
    """whether every page was read"""
    ranges: dict[Range, list[Carried]] = field(default_factory=dict)

    def rewind(self, range_: Range, rows: int) -> Key | int | None:
        """Forget what was read of the range behind its first `rows`; where it goes on."""
        kept: list[Carried] = []
        total = 0
        for batch in self.ranges.get(range_, []):
            if total + batch.rows > rows:
                break
            total += batch.rows
            kept.append(batch)
        if total != rows:
            raise ValueError(f"{rows} rows are no whole number of batches of {range_}")
        self.ranges[range_] = kept
        return kept[-1].place if kept else None

    def add(self, range_: Range, keys: Sequence[Key], place: Key | int, page: Page) -> None:
        """Rows are handed over."""
        values = {
            names: hashed(values_of(page.rows, self.table, names)).unique()
            for names in self.columns
        }
        batch = Carried(len(keys), place, page.at, hashed(keys), values)
        self.ranges[range_].append(batch)

    def batches(self) -> Iterator[Carried]:
        """All of them."""
        for batches in self.ranges.values():
            yield from batches

    def own(self) -> pl.Series:
        """Hashes of the primary keys of all rows that are held, each once."""
        return together(batch.own for batch in self.batches())

    def of(self, names: tuple[str, ...]) -> pl.Series:
        """Hashes of the values of columns in all rows that are held, each once."""
        if names == self.table.primary_key:
            return self.own()
        return together(batch.values.get(names, NONE) for batch in self.batches())

    @property
    def late(self) -> int:
        """Rows that came after the pages."""
        return sum(
            batch.rows
            for range_, batches in self.ranges.items()
            for batch in batches
            if range_.first_page > 0
        )

    def times(self) -> tuple[str, str]:
        """When the first and the last batch came; '' when there was none."""
        found = sorted(batch.at for batch in self.batches() if batch.at)
        return (found[0], found[-1]) if found else ("", "")


def holdings(dataset: Dataset) -> dict[TableName, Holding]:
    """One for each table, empty."""
    known = followed(dataset)
    return {
        table.name: Holding(
            table,
            tuple(
                {key.columns for key in known if key.table == table.name}
                | {key.referenced_columns for key in known if key.references == table.name}
            ),
        )
        for table in dataset.tables
    }


def followed(dataset: Dataset) -> list[ForeignKey]:
    """The keys whose ends are both in the backup as they are."""
    tables = {table.name: table for table in dataset.tables}
    return [
        key
        for key in dataset.foreign_keys
        if key.references in tables
        and _plain(tables[key.table], key.columns)
        and _plain(tables[key.references], key.referenced_columns)
    ]


def _plain(table: Table, names: Sequence[str]) -> bool:
    return set(names) <= {column.name for column in table.columns if not column.mask}
