"""What a backup holds of a table so far: 8 bytes a row, from which is told what it lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from convault.models import Dataset, ForeignKey, Range, Table, TableName
from convault.sources.rest.api import Page
from convault.sources.rest.asking import Key
from convault.sources.rest.digesting import digest_of
from convault.sources.rest.rows import NONE, framed, hashed, lacking, together, values_of


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
    texts: dict[tuple[str, ...], pl.DataFrame]
    """the same as they are, each once, where rows are selected by what they refer to"""
    noted: dict[tuple[str, ...], pa.RecordBatch]
    """columns as they were handed over"""
    late: bool
    digest: int | None
    """of the rows, where they have one"""


@dataclass(slots=True)
class Holding:
    """Of one table. Each range is written by one thread at a time."""

    table: Table
    columns: tuple[tuple[str, ...], ...]
    """that refer to rows of the dataset, or are referred to"""
    selecting: bool = False
    """whether the values of these columns are kept as they are"""
    noted: set[tuple[str, ...]] = field(default_factory=set)
    """columns whose values are asked for when all is read"""
    digests: bool = False
    """whether the rows can have a digest"""
    counted_before: int = 0
    counted_after: int = 0
    gone: int = 0
    finished: bool = False
    """whether every page was read"""
    ranges: dict[Range, list[Carried]] = field(default_factory=dict)
    _known: set[int] | None = None

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
        if len(kept) < len(self.ranges.get(range_, [])):
            self._known = None
        self.ranges[range_] = kept
        return kept[-1].place if kept else None

    def add(
        self, range_: Range, keys: Sequence[Key], place: Key | int, page: Page,
        batch: pa.RecordBatch, *, late: bool = False,
    ) -> None:  # fmt: skip
        """Rows are handed over."""
        values, texts = {}, {}
        for names in self.columns:
            found = values_of(page.rows, self.table, names)
            values[names] = hashed(found).unique()
            if self.selecting:
                texts[names] = framed(found, len(names)).unique()
        noted = {names: batch.select(names) for names in self.noted}
        if self._known is not None:
            self._known.update(hashed(keys))
        digest = digest_of(batch, self.table.columns) if self.digests else None
        own = hashed(keys)
        self.ranges[range_].append(
            Carried(len(keys), place, page.at, own, values, texts, noted, late, digest)
        )

    def batches(self) -> Iterator[Carried]:
        """All of them."""
        for batches in self.ranges.values():
            yield from batches

    def own(self) -> pl.Series:
        """Hashes of the primary keys of all rows that are held, each once."""
        return together(batch.own for batch in self.batches())

    def fresh(self, keys: Sequence[Key]) -> list[int]:
        """The places of those primary keys whose rows are not held. Where rows are selected it is
        asked for every page, so what is known is kept to look into: some 70 bytes a row."""
        found = hashed(keys)
        if not self.selecting:
            new = set(lacking(found, self.own()))
            return [place for place, own in enumerate(found) if own in new]
        if self._known is None:
            self._known = set(self.own())
        return [place for place, own in enumerate(found) if own not in self._known]

    def of(self, names: tuple[str, ...]) -> pl.Series:
        """Hashes of the values of columns in all rows that are held, each once."""
        if names == self.table.primary_key:
            return self.own()
        return together(batch.values.get(names, NONE) for batch in self.batches())

    def texts(self, names: tuple[str, ...], but: pl.Series) -> list[Key]:
        """Values of columns in all rows that are held, each once, without those whose hashes are in
        `but`. Only where `selecting`."""
        every = [framed([], len(names)), *(batch.texts[names] for batch in self.batches())]
        found = pl.concat(every).unique()
        new = found.with_columns(hash=found.hash_rows(seed=0))
        return [tuple(row[:-1]) for row in new.join(but.to_frame(), on="hash", how="anti").rows()]

    @property
    def rows(self) -> int:
        """That are held."""
        return sum(batch.rows for batch in self.batches())

    def digest(self) -> str | None:
        """Of all rows that are held; None where it is not known."""
        found = [batch.digest for batch in self.batches()]
        if not self.digests or None in found:
            return None
        return f"{sum(filter(None, found)) % 2**64:016x}"

    @property
    def late(self) -> int:
        """Rows that came after the pages."""
        return sum(batch.rows for batch in self.batches() if batch.late)

    def times(self) -> tuple[str, str]:
        """When the first and the last batch came; '' when there was none."""
        found = sorted(batch.at for batch in self.batches() if batch.at)
        return (found[0], found[-1]) if found else ("", "")


def holdings(dataset: Dataset, *, selecting: bool = False) -> dict[TableName, Holding]:
    """One for each table, empty; `selecting` when rows are selected by what they refer to."""
    known = followed(dataset)
    names = {table.name for table in dataset.tables}
    leading = dataset.foreign_keys if selecting else known
    return {
        table.name: Holding(
            table,
            tuple(
                {key.columns for key in known if key.table == table.name}
                | {
                    key.referenced_columns
                    for key in leading
                    if key.references == table.name and key.references in names
                }
            ),
            selecting,
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
