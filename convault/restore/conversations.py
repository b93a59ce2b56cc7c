"""Rows by the conversation they belong to: which ones are asked for, and the frames they lie in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import polars as pl
import psycopg

from convault.dataset.belonging import belonging, key_columns, way_to_root
from convault.errors import NotFoundError
from convault.formats.base import Rows
from convault.manifest import TableEntry
from convault.models import TableName
from convault.restore.copying import copy
from convault.restore.lookup import Index
from convault.restore.options import RestoreOptions
from convault.restore.outline import Outline
from convault.restore.pieces import Piece, Role, Wanted, row_text
from convault.restore.referenced import Place, values_of
from convault.restore.stretches import runs_of


class Conversations:
    """Chooses by `conversations`, `since` and `until` of the options."""

    def __init__(
        self, outline: Outline, chosen: Collection[TableName], options: RestoreOptions
    ) -> None:
        """`chosen`: tables of which rows are asked for."""
        self._outline = outline
        self._chosen = chosen
        self._options = options
        self._surveyed: set[str] | None = None
        self.notes: list[str] = []

    def pieces(
        self, connection: psycopg.Connection[Any], index: Index, place: Place
    ) -> Iterator[Piece]:
        """Pieces to survey, then those that hold the rows. NotFoundError."""
        if self._options.since or self._options.until:
            yield from self._survey_pieces(connection)
        yield from self._of_conversations(connection, index, place)

    def survey(
        self, connection: psycopg.Connection[Any], piece: Piece, rows: Iterable[Rows]
    ) -> None:
        """Take the rows of the root, to see which conversations are asked for."""
        created = self._outline.created_column(self._options.created_column, piece.table)
        chosen = [*self._outline.root_key(piece.table), created]
        names = ", ".join(f"c{number}" for number in range(len(chosen)))
        copy(
            connection, f"COPY pg_temp.convault_survey ({names}) FROM STDIN", rows,
            piece.table.columns, chosen, piece.part,
        )  # fmt: skip

    def _survey_pieces(self, connection: psycopg.Connection[Any]) -> Iterator[Piece]:
        root = self._outline.root
        created = self._outline.created_column(self._options.created_column)
        keys = len(root.primary_key)
        columns = [f"c{n} pg_catalog.text" for n in range(keys)]
        connection.execute(
            f"CREATE TEMPORARY TABLE convault_survey"
            f" ({', '.join(columns)}, c{keys} {created.type})".encode()
        )
        for name in self._outline.tree(root.name):
            table = self._outline.entries[name]
            for part in table.parts:
                yield Piece(table, part, Role.SURVEY)
        listed = ", ".join(f"c{n}" for n in range(keys))
        rows = connection.execute(
            f"SELECT {listed} FROM pg_temp.convault_survey WHERE (%(since)s::timestamptz IS NULL OR"
            f" c{keys} >= %(since)s::timestamptz) AND (%(until)s::timestamptz IS NULL OR"
            f" c{keys} < %(until)s::timestamptz)".encode(),
            {"since": self._options.since, "until": self._options.until},
        ).fetchall()
        connection.execute("DROP TABLE pg_temp.convault_survey")
        self._surveyed = {row[0] if keys == 1 else row_text(dict(enumerate(row))) for row in rows}
        if not self._surveyed:
            raise NotFoundError(
                f"No conversation of this backup has a {created.name} in that time. Nothing was "
                "changed."
            )

    def _of_conversations(
        self, connection: psycopg.Connection[Any], index: Index, place: Place
    ) -> Iterator[Piece]:
        keys = self._conversations()
        entries = index.conversations(keys)
        if self._options.conversations:
            known = set(entries["conversation"])
            unknown = sorted(set(keys) - known)
            if unknown:
                raise NotFoundError(
                    f"This backup holds no conversation {', '.join(unknown[:3])}"
                    f"{f' and {len(unknown) - 3} more' if len(unknown) > 3 else ''}. Nothing was "
                    "changed: IDs are primary keys of "
                    f"{self._outline.manifest.root}, as Postgres writes them."
                )
        by_part = {
            str(part): (list(zip(rows["first_frame"], rows["frames"], strict=True)),
                        int(rows["rows"].sum()))
            for (part,), rows in entries.group_by("part")
        }  # fmt: skip
        frames = index.frames(by_part)
        wanted_tables = self._outline.with_ways(self._chosen)
        assert self._outline.manifest.index is not None
        covered = set(self._outline.manifest.index.tables)
        self._tell_uncovered(covered)
        for table in sorted(self._outline.manifest.tables, key=self._outline.distance):
            if table.name not in wanted_tables or table.name not in covered:
                continue
            parts = [part for part in table.parts if part.key in by_part]
            if not parts:
                continue
            wanted = self._wanted(connection, table, keys, place)
            role = Role.SELECTED if table.name in self._chosen else Role.ALONG
            for part in parts:
                spans, rows = by_part[part.key]
                numbers = {n for first, count in spans for n in range(first, first + count)}
                runs, footer = runs_of(part, numbers, frames.get(part.key))
                yield Piece(table, part, role, runs, footer, wanted, rows)

    def _conversations(self) -> set[str]:
        given = {self._canonical(key) for key in self._options.conversations}
        if self._surveyed is None:
            return given
        chosen = self._surveyed & given if given else self._surveyed
        if not chosen:
            raise NotFoundError(
                "None of the conversations that were named was created in that time. Nothing was "
                "changed."
            )
        return chosen

    def _canonical(self, key: str) -> str:
        """A conversation's key as Postgres writes it."""
        root = self._outline.root
        text = key.strip()
        if len(root.primary_key) == 1:
            type_ = next(c.type for c in root.columns if c.name == root.primary_key[0])
            if type_ == "uuid":
                return text.lower().strip("{}")
            if type_ in ("smallint", "integer", "bigint") and text.lstrip("+-").isdigit():
                return str(int(text))
        return key

    def _wanted(
        self, connection: psycopg.Connection[Any], table: TableEntry, keys: Collection[str],
        place: Place,
    ) -> Wanted:  # fmt: skip
        """How the rows of the conversations are told from their neighbours' in the same frames."""
        own = belonging(self._outline.dataset, table.name)
        way = way_to_root(self._outline.dataset, table.name)
        assert own is not None  # the index covers the table
        assert way is not None
        values = pl.DataFrame({"0": sorted(keys)})
        if own.column is not None:
            return Wanted((own.column,), values)
        root = self._outline.root
        if not way:
            return Wanted(root.primary_key, values, as_row=True)
        if len(way) == 1 and set(root.primary_key) <= set(way[0].referenced_columns):
            columns = tuple(key_columns(self._outline.dataset, way[0]))
            return Wanted(columns, values, as_row=len(columns) > 1)
        key = way[0]
        above = self._outline.entries[key.references]
        values = values_of(connection, place(above), above, key.referenced_columns)
        return Wanted(key.columns, values)

    def _tell_uncovered(self, covered: set[TableName]) -> None:
        below = [
            str(t.name)
            for t in self._outline.manifest.tables
            if t.kind == "r"
            and t.name in self._chosen
            and t.name not in covered
            and t.rows
            and way_to_root(self._outline.dataset, t.name)
        ]
        if below:
            self.notes.append(
                f"Not restored, as the conversation of their rows cannot be told: "
                f"{', '.join(below)}. Use --table for all of their rows."
            )
