"""Which rows of a backup are asked for, and in which pieces of which parts they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import psycopg

from convault.encryption.objects import Opener
from convault.formats.base import Rows
from convault.manifest import Manifest
from convault.models import TableName
from convault.restore.conversations import Conversations
from convault.restore.lookup import Index
from convault.restore.options import RestoreOptions
from convault.restore.outline import Outline
from convault.restore.pieces import Piece
from convault.restore.referenced import Place, Referenced
from convault.stores.base import Store


class Selection:
    """Plans one restore's reading."""

    def __init__(
        self, store: Store, manifest: Manifest, options: RestoreOptions, opener: Opener
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._options = options
        self._opener = opener
        self._outline = Outline(manifest)
        self._index: Index | None = None
        self.everything = not options.selects
        """whether all rows are asked for"""
        self.tables: set[TableName] = {table.name for table in manifest.tables}
        """that may get rows"""
        self.rows: int | None = manifest.rows if self.everything else None
        """how many there are, where that is known"""
        self._chosen = set(self.tables)
        self._conversations: Conversations | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the operator should know of what was not found."""
        return () if self._conversations is None else tuple(self._conversations.notes)

    def check(self) -> None:
        """OptionsError, NotFoundError for what cannot be selected from this backup. Reads
        nothing."""
        options, outline = self._options, self._outline
        if options.tables:
            named = [outline.named(text) for text in options.tables]
            self._chosen = {table for name in named for table in outline.tree(name)}
        if options.by_conversation:
            outline.require_conversations()
            self._conversations = Conversations(outline, self._chosen, options)
        if options.since or options.until:
            outline.created_column(options.created_column)
        if not self.everything:
            found = outline.with_ways(self._chosen) if options.by_conversation else self._chosen
            self.tables = outline.with_references(found)

    def pieces(
        self, connection: psycopg.Connection[Any], place: Place, known: Place
    ) -> Iterator[Piece]:
        """What to load, in this order; each is loaded before the next is asked for. `place` says
        where rows are that were loaded, `known` where a reference may find its row."""
        if self._conversations is None:
            for table in self._manifest.tables:
                if table.name in self._chosen:
                    yield from (Piece(table, part) for part in table.parts)
        else:
            index = self._opened()
            assert index is not None  # `check` has seen to that
            yield from self._conversations.pieces(connection, index, place)
        if not self.everything:
            referenced = Referenced(self._outline, self.tables, self._opened)
            yield from referenced.pieces(connection, place, known)

    def survey(
        self, connection: psycopg.Connection[Any], piece: Piece, rows: Iterable[Rows]
    ) -> None:
        """Take the rows of the root, to see which conversations are asked for."""
        assert self._conversations is not None  # nobody else yields such a piece
        self._conversations.survey(connection, piece, rows)

    def _opened(self) -> Index | None:
        """The index, read once; None where the backup has none."""
        if self._index is None and self._manifest.index is not None:
            self._index = Index(self._store, self._manifest, self._opener)
        return self._index
