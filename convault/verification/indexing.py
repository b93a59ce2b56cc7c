"""The index of a backup made anew from its parts, as its commit made it from their receipts."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import polars as pl
import pyarrow as pa

from convault import index
from convault.dataset.belonging import belonging, key_columns, way_to_root
from convault.encryption.objects import unlocked
from convault.errors import IntegrityError
from convault.formats.base import Rows
from convault.formats.registry import format_of
from convault.loading import read_part
from convault.manifest import Manifest, PartEntry, TableEntry
from convault.models import BackupOptions, Part, Range, TableName
from convault.repository import Repository
from convault.restore.outline import Outline

_WHOLE = 1 << 40
"""plain bytes of a document, more than any has: a part is written again as the one it is"""


def index_again(repository: Repository, manifest: Manifest) -> bytes:
    """The index of the parts that the backup has written itself. IntegrityError when a part is
    damaged, or cannot be written again as it is; StoreError.

    In memory: one part, and the keys of tables that lie between others and the conversations.
    """
    return index.build(_Indexing(repository, manifest).parts())


class _Indexing:
    def __init__(self, repository: Repository, manifest: Manifest) -> None:
        self._store = repository.store
        self._manifest = manifest
        self._opener = unlocked(manifest, ())
        self._options = BackupOptions.parse(manifest.options)
        self._format = format_of(self._options.format)
        self._outline = Outline(manifest)
        self._dataset = self._outline.dataset

    def parts(self) -> Iterator[Part]:
        """Receipts with what they tell of conversations, as the run that wrote them had them."""
        for table in self._manifest.tables:
            taken = {(r.first_page, r.end_page) for r in table.ranges if r.taken_over}
            own = [part for part in table.parts if (part.first_page, part.end_page) not in taken]
            leading = self._leading(table.name) if own else None
            for part in own:
                yield self._receipt(table, part, leading)

    def _receipt(self, table: TableEntry, part: PartEntry, leading: _Leading | None) -> Part:
        columns = table.columns
        rows = _whole(self._rows(table, part))
        arrow: Any = rows.frame.to_arrow() if columns else _nothing(rows.count)
        level = self._options.compression_level
        documents = self._format.serialize(arrow, columns, _WHOLE, level)
        stored = [self._format.store(document, level) for document in documents]
        if [sha256(document.data).hexdigest() for document in stored] != [part.sha256]:
            raise IntegrityError(
                f"the libraries of this version write {part.key} differently", key=part.key
            )
        key = index.key_column(self._dataset.table(table.name))
        own_keys = None if key is None else _text_or_number(rows.frame[key])
        keys = (
            None if leading is None else _text_or_number(leading.of(rows.frame)).cast(pa.string())
        )
        (grouped,) = index.grouped(documents, keys, own_keys)
        return Part(
            Range(table.name, part.first_page, part.end_page),
            part.ordinal,
            part.key,
            part.sha256,
            part.stored_bytes,
            part.plain_sha256,
            part.plain_bytes,
            part.rows,
            index.entries(grouped, stored[0]),
        )

    def _rows(self, table: TableEntry, part: PartEntry) -> Iterator[Rows]:
        names = [column.name for column in table.columns]
        data = read_part(self._store, part, self._opener)
        for rows in self._format.read(data, table.columns):
            # Of CSV, columns come under their numbers.
            yield Rows(
                rows.frame.rename(dict(zip(rows.frame.columns, names, strict=True))), rows.count
            )

    def _leading(self, name: TableName) -> _Leading | None:
        """How the conversation of the table's rows is found; None when it cannot be told."""
        if belonging(self._dataset, name) is None:
            return None
        way = way_to_root(self._dataset, name) or ()
        root = self._dataset.table(self._dataset.root)  # type: ignore[arg-type]
        if len(root.primary_key) != 1:
            raise IntegrityError(f"conversations of {root.name} have keys of several columns")
        if not way:
            return _Leading(root.primary_key, None)
        first = way[0]
        if len(way) == 1 and set(root.primary_key) <= set(first.referenced_columns):
            return _Leading(tuple(key_columns(self._dataset, first)), None)
        above = first.references
        known = self._leading(above)
        if known is None:
            raise IntegrityError(f"the way from {name} to conversations is not in the backup")
        kind = self._dataset.table(above).kind
        held = self._outline.tree(above) if kind == "p" else [above]
        return _Leading(first.columns, self._conversations(held, first.referenced_columns, known))

    def _conversations(
        self, names: list[TableName], columns: tuple[str, ...], known: _Leading
    ) -> pl.DataFrame:
        """The conversation of each row of these tables, by the values of `columns`."""
        places = [f"key {number}" for number in range(len(columns))]
        found = []
        for entry in (self._outline.entries[name] for name in names):
            for part in entry.parts:
                for rows in self._rows(entry, part):
                    values = [rows.frame[c].alias(p) for c, p in zip(columns, places, strict=True)]
                    found.append(
                        pl.DataFrame([*values, known.of(rows.frame).alias("conversation")])
                    )
        if not found:
            raise IntegrityError(f"{names[0]}, which leads to conversations, has no rows")
        return pl.concat(found).unique(places)


class _Leading:
    """From rows to the conversations that they belong to."""

    def __init__(self, columns: tuple[str, ...], conversations: pl.DataFrame | None) -> None:
        self._columns = columns
        self._conversations = conversations

    def of(self, rows: pl.DataFrame) -> pl.Series:
        """The key of each row's conversation, null for none; in the order of the rows."""
        if self._conversations is None:
            return rows[self._columns[0]]
        places = self._conversations.columns[:-1]
        own = pl.DataFrame([rows[c].alias(p) for c, p in zip(self._columns, places, strict=True)])
        joined = own.join(self._conversations, on=places, how="left", maintain_order="left")
        return joined["conversation"]


def _whole(pieces: Iterator[Rows]) -> Rows:
    listed = list(pieces)
    return Rows(pl.concat([rows.frame for rows in listed]), sum(rows.count for rows in listed))


def _text_or_number(values: pl.Series) -> pa.ChunkedArray[Any]:
    """Texts of Polars are of a type that Arrow cannot compare."""
    arrow = values.to_arrow()
    kind = pa.string() if values.dtype == pl.String else arrow.type
    return pa.chunked_array([arrow.cast(kind)])


def _nothing(rows: int) -> pa.Table:
    """So many rows without columns."""
    return pa.table({"_": pa.nulls(rows)}).select([])
