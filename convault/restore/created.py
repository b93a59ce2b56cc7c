"""Tables that the restore makes itself: in an empty database, or in a schema of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from convault.errors import IntegrityError, RestoreError
from convault.formats.base import Rows
from convault.formats.copy_text import loadable
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest, TableEntry
from convault.models import Column, Statement, TableName
from convault.restore import statements, target
from convault.restore.copying import Ready, copy
from convault.restore.generated import Expected, expected
from convault.restore.pieces import Piece
from convault.restore.script import top_of
from convault.restore.statements import Outcome
from convault.restore.trees import hash_tops
from convault.schema import RESTORE_SETTINGS


class CreatedTables:
    """Implements `restoration.Tables`."""

    def __init__(
        self, connection: psycopg.Connection[Any], manifest: Manifest,
        script: Sequence[Statement], *, schema: str | None, tolerate: bool, plain: bool = False,
    ) -> None:  # fmt: skip
        """`script` makes the tables; `schema` is where they all are, None for where they were.
        `plain`: they compute no values and have no partitions (`script_of` with `data_only`)."""
        self._connection = connection
        self._manifest = manifest
        self._schema = schema
        self._tolerate = tolerate
        self._plain = plain
        self._before, self._after = (
            [s for s in script if s.after_data is late] for late in (False, True)
        )
        self._into: dict[TableName, TableName] = {}
        self._members: dict[TableName, list[TableEntry]] = defaultdict(list)
        self._rooms: dict[TableName, Expected | None] = {}
        self._loaded: dict[TableName, int] = defaultdict(int)
        self.outcome = Outcome()
        self.recomputed: dict[TableName, int] = {}
        self.counted: dict[TableName, int] = {}
        """rows of every table, when `check` counted them"""

    def name(self, table: TableName) -> TableName:
        """What a table of the backup is called in the target."""
        return table if self._schema is None else TableName(self._schema, table.name)

    def place(self, table: TableEntry) -> str:
        """What holds the rows of a table of the backup that are restored so far, for FROM."""
        if self._plain:
            return f"ONLY {self.name(self._into[table.name]).quoted}"
        only = "" if table.kind == "p" or self._into[table.name] != table.name else "ONLY "
        return f"{only}{self.name(table.name).quoted}"

    def known(self, table: TableEntry) -> str:
        """The same: a reference finds nothing else."""
        return self.place(table)

    def prepare(self) -> None:
        """Make the tables. RestoreError, IntegrityError."""
        self.outcome.add(statements.run(self._connection, self._before, tolerate=self._tolerate))
        for name, value in RESTORE_SETTINGS.items():
            self._connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
        tops = hash_tops(self._connection)
        back = {self.name(table.name): table.name for table in self._manifest.tables}
        for table in self._manifest.tables:
            top = tops.get(self.name(table.name))
            into = table.name if top is None else back.get(top, table.name)
            self._into[table.name] = top_of(self._manifest, table) if self._plain else into
            self._members[self._into[table.name]].append(table)

    def given(self, table: TableEntry) -> list[Column]:
        """The columns of the table's rows that are loaded."""
        return list(table.columns) if self._plain else loadable(table.columns)

    def load(self, piece: Piece, rows: Iterable[Rows | Ready]) -> int:
        """COPY rows into their table, or into one above it, and their generated values to where
        they are compared. IntegrityError, RestoreError."""
        table, into = piece.table, self._into[piece.table.name]
        given = self.given(table)
        names = ", ".join(quoted(column.name) for column in given)
        columns = f" ({names})" if names else ""
        statement = f"COPY {self.name(into).quoted}{columns} FROM STDIN"
        with target.refusals(f"rows of {into}"):
            room = self._room(into)
            kept = rows if room is None else list(rows)
            taken = copy(self._connection, statement, kept, table.columns, given, piece.part)
            if room is not None:
                values = (one.rows if isinstance(one, Ready) else one for one in kept)
                copy(
                    self._connection, room.copy_statement, values, table.columns, room.columns,
                    piece.part,
                )  # fmt: skip
        self._loaded[table.name] += taken
        return taken

    def check(self, *, everything: bool) -> None:
        """After the last row: generated values and counts are as the backup says."""
        for into, room in self._rooms.items():
            if room is None:
                continue
            with target.refusals(f"rows of {into}"):
                differing = room.differing(self._connection)
            if differing and not self._tolerate:
                raise RestoreError(
                    f"{differing} rows of {into} get other values in their generated columns than "
                    "they have in the backup: the function that computes them was changed, or is "
                    "another one in this version of Postgres. Nothing was changed; `convault "
                    "restore --tolerate-constraints` takes the new values.",
                    table=into,
                )
            if differing:
                self.recomputed[into] = differing
        counts = self.counted = self.counts()
        for into, tables in self._members.items():
            found = sum(counts[t.name] for t in tables)
            promised = sum(t.rows if everything else self._loaded[t.name] for t in tables)
            if found != promised:
                raise IntegrityError(
                    f"Table {into} has {found} rows after loading, and the backup counted "
                    f"{promised}. Nothing was changed.",
                    table=into,
                )

    def counts(self) -> dict[TableName, int]:
        """count(*) of every table."""
        found = {}
        for table in self._manifest.tables:
            if self._plain and self._into[table.name] != table.name:
                found[table.name] = 0  # its rows are in the table above
                continue
            query = f"SELECT count(*) FROM ONLY {self.name(table.name).quoted}"
            row = self._connection.execute(query.encode()).fetchone()
            found[table.name] = row[0] if row else 0
        return found

    def finish(self) -> None:
        """Keys, indexes, constraints, and what else comes after the rows."""
        self.outcome.add(statements.run(self._connection, self._after, tolerate=self._tolerate))

    def _room(self, into: TableName) -> Expected | None:
        if self._plain:
            return None
        if into not in self._rooms:
            tables = self._members[into]
            self._rooms[into] = expected(
                self._connection, self.name(into), tables,
                alone=[table.name for table in tables] == [into], number=len(self._rooms),
            )  # fmt: skip
        return self._rooms[into]
