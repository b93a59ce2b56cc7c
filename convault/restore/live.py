"""Live tables: rows wait in a staging area of this connection, and are merged at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from convault.errors import RestoreError
from convault.formats.base import Rows
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest, TableEntry
from convault.models import Column, ForeignKey, TableName
from convault.restore import target
from convault.restore.copying import Ready, copy
from convault.restore.guards import Guards
from convault.restore.matching import Match, match
from convault.restore.merging import Merge, Merged, Staged
from convault.restore.options import Mode, RestoreOptions
from convault.restore.pieces import Piece, Role
from convault.restore.script import top_of
from convault.restore.statements import Outcome
from convault.restore.users import Reference

if TYPE_CHECKING:
    from convault.restore.restoration import Confirm

_FOREIGN_KEYS = """
    SELECT c.conname, r.nspname, t.relname, (
            SELECT array_agg(a.attname ORDER BY k.place)
            FROM unnest(c.conkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number),
        (
            SELECT array_agg(a.attname ORDER BY k.place)
            FROM unnest(c.confkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number)
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_class t ON t.oid = c.confrelid
    JOIN pg_catalog.pg_namespace r ON r.oid = t.relnamespace
    WHERE c.conrelid = %s::pg_catalog.oid AND c.contype = 'f'
    ORDER BY c.conname
"""


@dataclass(frozen=True, slots=True)
class _Privileges:
    insert: bool
    update: bool
    delete: bool


class LiveTables:
    """Implements `restoration.Tables`."""

    def __init__(
        self, connection: psycopg.Connection[Any], manifest: Manifest,
        wanted: Collection[TableName], options: RestoreOptions, confirm: Confirm,
    ) -> None:  # fmt: skip
        """`wanted`: tables that may get rows."""
        self._connection = connection
        self._manifest = manifest
        self._wanted = wanted
        self._options = options
        self._confirm = confirm
        self._entries = {table.name: table for table in manifest.tables}
        self._into: dict[TableName, TableName] = {}
        self._staged: dict[TableName, Staged] = {}
        self._keys: dict[TableName, list[ForeignKey]] = {}
        self._guards: Guards
        self.outcome = Outcome()
        self.recomputed: dict[TableName, int] = {}

    def prepare(self) -> None:
        """Match every table, refuse what cannot be, and make the staging area. RestoreError."""
        self._require_whole_backup()
        members: dict[TableName, list[TableEntry]] = defaultdict(list)
        for table in self._manifest.tables:
            if table.name in self._wanted:
                # Through the topmost table that it is a partition of, which finds the partition
                # for each row, however the live table is partitioned.
                self._into[table.name] = into = top_of(self._manifest, table)
                members[into].append(table)
        missing = set(members) - target.tables_there(self._connection, list(members))
        if missing:
            raise RestoreError(
                "The target has some tables of the backup, but not "
                f"{', '.join(sorted(map(str, missing)))}. Nothing was changed: make them, or "
                "restore into an empty database or another schema (--schema)."
            )
        with target.refusals("to say what its tables are"):
            self._guards = Guards(self._connection, list(members))
            self._guards.check()
            if self._options.selects:
                self._guards.open_eyes()  # what is referenced is looked for among live rows
            for number, (into, tables) in enumerate(members.items()):
                self._staged[into] = self._stage(number, match(self._connection, into, tables))
                self._keys[into] = [
                    ForeignKey(name, into, tuple(columns), TableName(schema, table), tuple(others))
                    for name, schema, table, columns, others in self._connection.execute(
                        _FOREIGN_KEYS, (self._staged[into].match.oid,)
                    )
                ]

    def given(self, table: TableEntry) -> list[Column]:
        """The columns of the table's rows that are loaded: those that the live one has."""
        kept = {column.name for column in self._staged[self._into[table.name]].match.columns}
        return [column for column in table.columns if column.name in kept]

    def load(self, piece: Piece, rows: Iterable[Rows | Ready]) -> int:
        """COPY rows into the staging area. IntegrityError, RestoreError."""
        staged = self._staged[self._into[piece.table.name]]
        chosen = self.given(piece.table)
        place = staged.selected if piece.role is Role.SELECTED else staged.along
        names = ", ".join(quoted(column.name) for column in chosen)
        with target.refusals(f"rows of {piece.table.name}"):
            return copy(
                self._connection, f"COPY {place} ({names}) FROM STDIN", rows,
                piece.table.columns, chosen, piece.part,
            )  # fmt: skip

    def place(self, table: TableEntry) -> str:
        """The rows that wait for a table."""
        return self._waiting(self._into[table.name])

    def known(self, table: TableEntry) -> str:
        """The rows that a reference finds: those that wait, and those that are there."""
        into = self._into[table.name]
        match = self._staged[into].match
        waiting = self._waiting(into)
        return f"(SELECT * FROM {waiting} w UNION ALL SELECT {match.names} FROM {match.table})"

    def references(self) -> list[Reference]:
        """The foreign keys of the live tables, over the rows that wait."""
        found = []
        for into, keys in self._keys.items():
            staged = self._staged[into]
            required = {c.name for c in staged.match.columns if c.not_null} | set(staged.match.key)
            given = {column.name for column in staged.match.columns}
            for key in keys:
                if set(key.columns) <= given:
                    nullable = not required & set(key.columns)
                    found += [
                        Reference(key, place, nullable) for place in (staged.selected, staged.along)
                    ]
        return found

    def inside(self) -> tuple[tuple[Reference, str], ...]:
        """Those among the tables of the backup, with what each may find."""
        found = []
        for reference in self.references():
            above = reference.key.references
            if above not in self._staged:
                continue
            given = {column.name for column in self._staged[above].match.columns}
            if not set(reference.key.referenced_columns) <= given:
                continue
            replacing = self._options.mode is Mode.REPLACE
            entry = next(t for name, t in self._entries.items() if self._into.get(name) == above)
            found.append((reference, self.place(entry) if replacing else self.known(entry)))
        return tuple(found)

    def finish(self) -> Merged:
        """Merge what waits into the live tables, as the mode says."""
        self._guards.open_eyes()
        merge = Merge(
            self._connection, self._manifest, self._staged, self._guards, self._options,
            self._confirm,
        )  # fmt: skip
        return merge.run()

    def _waiting(self, into: TableName) -> str:
        staged = self._staged[into]
        return f"(SELECT * FROM {staged.selected} UNION ALL SELECT * FROM {staged.along})"

    def _stage(self, number: int, match: Match) -> Staged:
        self._require_privileges(match)
        selected, along = (f"pg_temp.convault_{kind}_{number}" for kind in ("rows", "along"))
        for place in (selected, along):
            # LIKE, as it reads no row: a SELECT might be refused for row security.
            name = place.removeprefix("pg_temp.")
            self._connection.execute(
                f"CREATE TEMPORARY TABLE {name} (LIKE {match.name.quoted})".encode()
            )
            kept = set(match.columns)
            for column in match.all_columns:
                if column not in kept:
                    change = f"DROP COLUMN {quoted(column.name)}"
                elif column.not_null:
                    change = f"ALTER COLUMN {quoted(column.name)} DROP NOT NULL"
                else:
                    continue
                self._connection.execute(f"ALTER TABLE {place} {change}".encode())
        return Staged(match, selected, along)

    def _require_privileges(self, match: Match) -> None:
        wanted = {
            Mode.FAIL: ("SELECT", "INSERT"),
            Mode.SKIP: ("SELECT", "INSERT"),
            Mode.OVERWRITE: ("SELECT", "INSERT", "UPDATE"),
            Mode.REPLACE: ("SELECT", "INSERT", "UPDATE", "DELETE"),
        }[self._options.mode]
        for privilege in wanted:
            row = self._connection.execute(
                "SELECT has_table_privilege(%s::pg_catalog.oid, %s)", (match.oid, privilege)
            ).fetchone()
            if row != (True,):
                raise RestoreError(
                    f"The role may not {privilege} on {match.name}. Nothing was changed: GRANT "
                    "it, or restore as the owner.",
                    table=match.name,
                )

    def _require_whole_backup(self) -> None:
        """`replace` removes what the backup does not hold; so it must hold everything."""
        if self._options.mode is not Mode.REPLACE:
            return
        options, manifest = self._manifest.options, self._manifest
        why = None
        if getattr(manifest, "selection", None) is not None or any(
            options.get(name) for name in ("conversationIds", "startDate", "endDate", "tables")
        ):
            why = "it was made with a filter"
        elif options.get("includeMessages") is False:
            why = "it was made without messages"
        elif getattr(manifest, "absent", ()):
            why = "tables or columns were left out of it"
        elif any(getattr(c, "mask", "") for t in manifest.tables for c in t.columns):
            why = "values are masked in it"
        if why is not None:
            raise RestoreError(
                f"This backup cannot replace live rows: {why}, and what it does not hold would be "
                "removed. Nothing was changed: use --mode overwrite or skip."
            )
