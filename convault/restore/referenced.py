"""What chosen rows reference, upward, until no reference is without its row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from typing import Any

import polars as pl
import psycopg

from convault.formats.postgres_types import quoted, value_expression
from convault.manifest import TableEntry
from convault.models import ForeignKey, TableName
from convault.restore import target
from convault.restore.lookup import Index
from convault.restore.outline import Outline
from convault.restore.pieces import Piece, Role, Wanted
from convault.restore.stretches import piece_of, runs_of

Place = Callable[[TableEntry], str]
"""what holds the rows of a table, for FROM"""


class Referenced:
    """Finds the rows of one restore that come along."""

    def __init__(
        self, outline: Outline, tables: Collection[TableName], index: Callable[[], Index | None]
    ) -> None:
        """`tables` may get rows; `index` opens that of the backup, if it has one."""
        self._outline = outline
        self._tables = tables
        self._index = index
        self._sought: dict[str, set[tuple[str, ...]]] = defaultdict(set)

    def pieces(
        self, connection: psycopg.Connection[Any], place: Place, known: Place
    ) -> Iterator[Piece]:
        """Rows that loaded rows reference, and that these reference, until none is missing."""
        again = True
        while again:
            again = False
            for key in self._outline.manifest.foreign_keys:
                below, above = (
                    self._outline.entries.get(key.table),
                    self._outline.entries.get(key.references),
                )
                if below is None or above is None or key.table not in self._tables:
                    continue
                with target.refusals(f"a look at {key.name}"):
                    missing = missing_references(connection, key, below, place(below), known(above))
                new = missing - self._sought[key.name]
                if not new:
                    continue
                self._sought[key.name] |= new
                again = True
                yield from self._find(above, key.referenced_columns, new)

    def _find(
        self, above: TableEntry, columns: tuple[str, ...], values: Collection[tuple[str, ...]]
    ) -> Iterator[Piece]:
        """Pieces that hold the rows of a table (and its partitions) with these values."""
        frame = pl.DataFrame(
            {str(n): [value[n] for value in sorted(values)] for n in range(len(columns))},
            schema={str(n): pl.String for n in range(len(columns))},
        )
        wanted = Wanted(columns, frame)
        tables = [
            self._outline.entries[name]
            for name in self._outline.tree(above.name, partitions_only=True)
        ]
        parts = {part.key: part for table in tables for part in table.parts}
        index = self._index()
        by_key: dict[str, set[int]] | None = None
        if index is not None and index.has_frames:
            firsts = {value[0] for value in values}
            if columns == self._root_columns(above):
                by_key = _by_conversation(index, firsts)
            frames = index.frames([key for key in parts if by_key is None or key in by_key])
        else:
            frames = {}
        for table in tables:
            for part in table.parts:
                found = frames.get(part.key)
                if by_key is not None:
                    numbers: set[int] | None = by_key.get(part.key, set())
                else:
                    numbers = piece_of(table, columns[0], firsts, found) if found else None
                if numbers is not None and not numbers:
                    continue
                runs, footer = runs_of(part, numbers, found)
                yield Piece(table, part, Role.ALONG, runs, footer, wanted)

    def _root_columns(self, above: TableEntry) -> tuple[str, ...] | None:
        """The root's primary key, where `above` is the root and the index finds its rows by it."""
        if above.name != self._outline.manifest.root or len(above.primary_key) != 1:
            return None
        return above.primary_key


def missing_references(
    connection: psycopg.Connection[Any], key: ForeignKey, below: TableEntry, place: str, known: str
) -> set[tuple[str, ...]]:
    """Values of a foreign key that find no row yet, as texts."""
    by_name = {column.name: column for column in below.columns}
    if not set(key.columns) <= by_name.keys():
        return set()
    values = ", ".join(value_expression(by_name[name], "r") for name in key.columns)
    filled = " AND ".join(f"r.{quoted(name)} IS NOT NULL" for name in key.columns)
    same = " AND ".join(
        f"u.{quoted(there)} = r.{quoted(here)}"
        for here, there in zip(key.columns, key.referenced_columns, strict=True)
    )
    rows = connection.execute(
        f"SELECT DISTINCT {values} FROM {place} r WHERE {filled}"
        f" AND NOT EXISTS (SELECT FROM {known} u WHERE {same})".encode()
    ).fetchall()
    return {tuple(as_text(value) for value in row) for row in rows}


def values_of(
    connection: psycopg.Connection[Any], place: str, table: TableEntry, names: tuple[str, ...]
) -> pl.DataFrame:
    by_name = {column.name: column for column in table.columns}
    values = ", ".join(value_expression(by_name[name], "r") for name in names)
    rows = connection.execute(f"SELECT DISTINCT {values} FROM {place} r".encode()).fetchall()
    return pl.DataFrame(
        {str(n): [as_text(row[n]) for row in rows] for n in range(len(names))},
        schema={str(n): pl.String for n in range(len(names))},
    )


def as_text(value: object) -> str:
    """As Polars casts what a part holds: booleans and integers are not texts there."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _by_conversation(index: Index, keys: Collection[str]) -> dict[str, set[int]]:
    """The frames of each part in which these conversations have rows."""
    found: dict[str, set[int]] = defaultdict(set)
    for row in index.conversations(keys).iter_rows(named=True):
        found[row["part"]] |= set(range(row["first_frame"], row["first_frame"] + row["frames"]))
    return found
