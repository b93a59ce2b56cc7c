"""Which Storage files the rows of a restore point at, seen as they are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from convault.files.addresses import Address
from convault.files.references import References
from convault.formats.base import Rows
from convault.manifest import Manifest
from convault.models import TableName
from convault.restore.pieces import Piece


class PointedFiles:
    """For a restore of some rows, whose files alone are put back."""

    def __init__(self, manifest: Manifest) -> None:
        storage = manifest.storage
        columns = () if storage is None else tuple(c.file_column for c in storage.columns)
        self._references = None if storage is None else References(storage.borders, columns)
        self._columns: dict[TableName, list[int]] = {}
        for number, column in enumerate(columns):
            self._columns.setdefault(column.table, []).append(number)

    @property
    def files(self) -> frozenset[Address]:
        """Of the project of the backup, whether it holds them or not."""
        return frozenset(() if self._references is None else self._references.files)

    def watched(self, piece: Piece, rows: Iterable[Rows]) -> Iterator[Rows]:
        """The same rows, looked at on their way."""
        names = [column.name for column in piece.table.columns]
        for some in rows:
            self._look(piece.table.name, names, some.frame)
            yield some

    def _look(self, table: TableName, names: list[str], frame: pl.DataFrame) -> None:
        for number in self._columns.get(table, ()):
            assert self._references is not None
            column = self._references.columns[number]
            values = [frame.to_series(names.index(name)) for name in column.columns]
            beside = values[1] if len(values) > 1 else [None] * frame.height
            self._references.add(number, zip(values[0], beside, strict=True))
