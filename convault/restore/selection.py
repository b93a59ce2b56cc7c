"""Which rows of a backup are asked for, and in which pieces of which parts they lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import polars as pl
import psycopg

from convault.belonging import belonging, key_columns, way_to_root
from convault.encryption import Opener
from convault.errors import NotFoundError, OptionsError
from convault.formats.base import Rows
from convault.formats.postgres_types import quoted, value_expression
from convault.manifest import Manifest, TableEntry
from convault.models import Column, Dataset, ForeignKey, Table, TableName
from convault.restore import target
from convault.restore.copying import copy
from convault.restore.lookup import Index
from convault.restore.options import RestoreOptions
from convault.restore.pieces import Piece, Role, Wanted
from convault.restore.pieces import row_text as _row_text
from convault.restore.stretches import piece_of, runs_of
from convault.stores.base import Store

Place = Callable[[TableEntry], str]
"""what holds the rows of a table, for FROM"""

CREATED_COLUMNS = ("created_at", "inserted_at", "opened_at", "started_at")
"""names under which a root table says when a row of it came to be, the likeliest first"""
_TIMES = ("timestamp", "date")


class Selection:
    """Plans one restore's reading."""

    def __init__(
        self, store: Store, manifest: Manifest, options: RestoreOptions, opener: Opener
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._options = options
        self._opener = opener
        self._entries = {table.name: table for table in manifest.tables}
        self._dataset = _dataset(manifest)
        self._index: Index | None = None
        self._surveyed: set[str] | None = None
        self._sought: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        self._found: int = 0
        self.notes: list[str] = []
        self.everything = not options.selects
        """whether all rows are asked for"""
        self.tables: set[TableName] = set(self._entries)
        """that may get rows"""
        self.rows: int | None = manifest.rows if self.everything else None
        """how many there are, where that is known"""
        self._chosen: set[TableName] = set(self._entries)

    def check(self) -> None:
        """OptionsError, NotFoundError for what cannot be selected from this backup. Reads
        nothing."""
        options = self._options
        if options.tables:
            self._chosen = {n for text in options.tables for n in self._tree(self._named(text))}
        if options.by_conversation:
            self._require_index()
        if options.since or options.until:
            self._created_column()
        if not self.everything:
            self.tables = self._with_references(self._with_ways(self._chosen))

    def check_found(self) -> None:
        """NotFoundError when a selection found nothing at all."""
        if self._options.selects and not self._options.by_conversation and not self._found:
            self.notes.append("The backup holds no row of what was asked for.")

    def pieces(
        self, connection: psycopg.Connection[Any], place: Place, known: Place
    ) -> Iterator[Piece]:
        """What to load, in this order; each is loaded before the next is asked for. `place` says
        where rows are that were loaded, `known` where a reference may find its row."""
        if not self._options.by_conversation:
            for table in self._manifest.tables:
                if table.name in self._chosen:
                    for part in table.parts:
                        self._found += part.rows
                        yield Piece(table, part)
        else:
            if self._options.since or self._options.until:
                yield from self._survey_pieces(connection)
            yield from self._of_conversations(connection, place)
        if not self.everything:
            yield from self._references(connection, place, known)

    # By conversation

    def survey(
        self, connection: psycopg.Connection[Any], piece: Piece, rows: Iterable[Rows]
    ) -> None:
        """Take the rows of the root, to see which conversations are asked for."""
        chosen = [*self._root_key(piece.table), self._created_column(piece.table)]
        names = ", ".join(f"c{number}" for number in range(len(chosen)))
        copy(
            connection, f"COPY pg_temp.convault_survey ({names}) FROM STDIN", rows,
            piece.table.columns, chosen, piece.part,
        )  # fmt: skip

    def _survey_pieces(self, connection: psycopg.Connection[Any]) -> Iterator[Piece]:
        root = self._root
        created = self._created_column()
        keys = len(root.primary_key)
        columns = [f"c{n} pg_catalog.text" for n in range(keys)]
        connection.execute(
            f"CREATE TEMPORARY TABLE convault_survey"
            f" ({', '.join(columns)}, c{keys} {created.type})".encode()
        )
        for name in self._tree(root.name):
            table = self._entries[name]
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
        self._surveyed = {row[0] if keys == 1 else _row_text(dict(enumerate(row))) for row in rows}
        if not self._surveyed:
            raise NotFoundError(
                f"No conversation of this backup has a {created.name} in that time. Nothing was "
                "changed."
            )

    def _of_conversations(
        self, connection: psycopg.Connection[Any], place: Place
    ) -> Iterator[Piece]:
        keys = self._conversations()
        index = self._opened()
        entries = index.conversations(keys)
        if self._options.conversations:
            known = set(entries["conversation"])
            unknown = sorted(set(keys) - known)
            if unknown:
                raise NotFoundError(
                    f"This backup holds no conversation {', '.join(unknown[:3])}"
                    f"{f' and {len(unknown) - 3} more' if len(unknown) > 3 else ''}. Nothing was "
                    "changed: IDs are primary keys of "
                    f"{self._manifest.root}, as Postgres writes them."
                )
        by_part = {
            str(part): (list(zip(rows["first_frame"], rows["frames"], strict=True)),
                        int(rows["rows"].sum()))
            for (part,), rows in entries.group_by("part")
        }  # fmt: skip
        frames = index.frames(by_part)
        wanted_tables = self._with_ways(self._chosen)
        assert self._manifest.index is not None
        covered = set(self._manifest.index.tables)
        self._tell_uncovered(covered)
        for table in sorted(self._manifest.tables, key=self._distance):
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
                self._found += rows
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
        root = self._root
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
        own = belonging(self._dataset, table.name)
        way = way_to_root(self._dataset, table.name)
        assert own is not None  # the index covers the table
        assert way is not None
        values = pl.DataFrame({"0": sorted(keys)})
        if own.column is not None:
            return Wanted((own.column,), values)
        root = self._root
        if not way:
            return Wanted(root.primary_key, values, as_row=True)
        if len(way) == 1 and set(root.primary_key) <= set(way[0].referenced_columns):
            columns = tuple(key_columns(self._dataset, way[0]))
            return Wanted(columns, values, as_row=len(columns) > 1)
        key = way[0]
        above = self._entries[key.references]
        return Wanted(key.columns, _values(connection, place(above), above, key.referenced_columns))

    def _distance(self, table: TableEntry) -> int:
        way = way_to_root(self._dataset, table.name)
        return 1 << 16 if way is None else len(way)

    def _tell_uncovered(self, covered: set[TableName]) -> None:
        below = [
            str(t.name)
            for t in self._manifest.tables
            if t.kind == "r"
            and t.name in self._chosen
            and t.name not in covered
            and t.rows
            and way_to_root(self._dataset, t.name)
        ]
        if below:
            self.notes.append(
                f"Not restored, as the conversation of their rows cannot be told: "
                f"{', '.join(below)}. Use --table for all of their rows."
            )

    # What is referenced

    def _references(
        self, connection: psycopg.Connection[Any], place: Place, known: Place
    ) -> Iterator[Piece]:
        """Rows that loaded rows reference, and that these reference, until none is missing."""
        again = True
        while again:
            again = False
            for key in self._manifest.foreign_keys:
                below, above = self._entries.get(key.table), self._entries.get(key.references)
                if below is None or above is None or key.table not in self.tables:
                    continue
                with target.refusals(f"a look at {key.name}"):
                    missing = _missing(connection, key, below, place(below), known(above))
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
        tables = [self._entries[name] for name in self._tree(above.name, partitions_only=True)]
        parts = {part.key: part for table in tables for part in table.parts}
        index = self._opened() if self._manifest.index is not None else None
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
        if above.name != self._manifest.root or len(above.primary_key) != 1:
            return None
        return above.primary_key

    # Which tables

    def _named(self, text: str) -> TableName:
        schema, dot, name = text.partition(".")
        found = [
            table
            for table in self._entries
            if (table == TableName(schema, name) if dot else table.name == text)
        ]
        exact = [table for table in found if dot or table.schema == "public"]
        chosen = exact or found
        if len(chosen) != 1:
            listed = ", ".join(str(table) for table in (chosen or self._entries))
            raise NotFoundError(
                f"The backup has {'several tables' if chosen else 'no table'} {text}: "
                f"{'name one of' if chosen else 'it holds'} {listed}."
            )
        return chosen[0]

    def _tree(self, name: TableName, *, partitions_only: bool = False) -> list[TableName]:
        """A table with its partitions, and those that inherit from it."""
        found = [name]
        for above in found:
            if partitions_only and self._entries[above].kind != "p":
                continue
            found += [
                t.name for t in self._manifest.tables if above in t.parents and t.name not in found
            ]
        return found

    def _with_ways(self, names: Collection[TableName]) -> set[TableName]:
        """With the tables by whose rows it is told which rows of these belong to a conversation."""
        found = set(names)
        if not self._options.by_conversation:
            return found
        for name in names:
            for key in way_to_root(self._dataset, name) or ():
                if key.references != self._manifest.root:
                    found |= set(self._tree(key.references))
        return found

    def _with_references(self, names: Collection[TableName]) -> set[TableName]:
        found = set(names)
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            lineage = {name, *self._entries[name].parents}
            for key in self._manifest.foreign_keys:
                if key.table in lineage and key.references in self._entries:
                    new = {*self._tree(key.references, partitions_only=True)} - found
                    found |= new
                    waiting += new
            # A partition's rows are its parent's as well, whose keys they must keep.
            above = {p for p in self._entries[name].parents if p in self._entries} - found
            found |= above
            waiting += above
        return found

    # What there must be

    def _require_index(self) -> None:
        if self._manifest.root is None:
            raise OptionsError(
                "This backup was made of tables that were named, and knows of no conversations: "
                "use --table, or restore everything."
            )
        if self._manifest.index is None:
            raise OptionsError(
                f"{self._manifest.root} has no primary key, so conversations of this backup have "
                "no IDs and no index: use --table, or restore everything."
            )

    @property
    def _root(self) -> TableEntry:
        assert self._manifest.root is not None  # `check` has seen to that
        return self._entries[self._manifest.root]

    def _opened(self) -> Index:
        if self._index is None:
            assert self._manifest.index is not None
            self._index = Index(self._store, self._manifest.index, self._opener)
        return self._index

    def _root_key(self, table: TableEntry) -> list[Column]:
        root = self._root
        columns = {column.name: column for column in table.columns}
        return [columns[name] for name in root.primary_key]

    def _created_column(self, table: TableEntry | None = None) -> Column:
        root = table or self._root
        times = {c.name: c for c in root.columns if c.type.startswith(_TIMES)}
        name = self._options.created_column
        if name is None:
            name = next((n for n in CREATED_COLUMNS if n in times), None)
        if name is None or name not in times:
            listed = ", ".join(times) or "none"
            raise OptionsError(
                f"Which column of {self._manifest.root} says when a conversation was created? Set "
                f"CONVAULT_CREATED_COLUMN, or use --created-column. Columns that hold times: "
                f"{listed}."
            )
        return times[name]


def _missing(
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
    return {tuple(_text(value) for value in row) for row in rows}


def _values(
    connection: psycopg.Connection[Any], place: str, table: TableEntry, names: tuple[str, ...]
) -> pl.DataFrame:
    by_name = {column.name: column for column in table.columns}
    values = ", ".join(value_expression(by_name[name], "r") for name in names)
    rows = connection.execute(f"SELECT DISTINCT {values} FROM {place} r".encode()).fetchall()
    return pl.DataFrame(
        {str(n): [_text(row[n]) for row in rows] for n in range(len(names))},
        schema={str(n): pl.String for n in range(len(names))},
    )


def _text(value: object) -> str:
    """As Polars casts what a part holds: booleans and integers are not texts there."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _by_conversation(index: Index, keys: Collection[str]) -> dict[str, set[int]]:
    """The frames of each part in which these conversations have rows."""
    found: dict[str, set[int]] = defaultdict(set)
    for row in index.conversations(keys).iter_rows(named=True):
        found[row["part"]] |= set(range(row["first_frame"], row["first_frame"] + row["frames"]))
    return found


def _dataset(manifest: Manifest) -> Dataset:
    """What the backup says of its tables, as what is read of a source says it."""
    return Dataset(
        manifest.root,
        tuple(
            Table(t.name, 0, t.kind, t.columns, t.primary_key, t.parents) for t in manifest.tables
        ),
        manifest.foreign_keys,
    )
