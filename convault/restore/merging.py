"""Waiting rows into live tables: skipped, overwritten or replaced, and what goes is kept before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from convault.errors import RestoreError
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest
from convault.models import Column, TableName
from convault.progress import report
from convault.restore import sequences
from convault.restore.guards import Guards
from convault.restore.kept import Kept
from convault.restore.matching import Match
from convault.restore.options import Mode, RestoreOptions
from convault.restore.outsiders import Moved, Outsiders, outsiders
from convault.restore.parking import IN_THE_WAY, Moving, Parking
from convault.restore.result import Changes

if TYPE_CHECKING:
    from convault.restore.restoration import Confirm


@dataclass(frozen=True, slots=True)
class Staged:
    """A live table, and the rows that wait for it."""

    match: Match
    selected: str
    """a temporary table: rows that were asked for"""
    along: str
    """another: rows that these reference; put there where they are missing, and nothing else"""


@dataclass(frozen=True, slots=True)
class Merged:
    """What the merge did."""

    changes: dict[TableName, Changes]
    rows: dict[TableName, int]
    restore_id: UUID | None


@dataclass(frozen=True, slots=True)
class _Plan:
    changes: dict[TableName, Changes]
    existing: dict[TableName, int]
    outsiders: list[Outsiders] = field(default_factory=list)

    @property
    def removed(self) -> int:
        return sum(change.removed for change in self.changes.values())

    @property
    def orphans(self) -> int:
        return sum(found.rows for found in self.outsiders if not found.follows)


class Merge:
    """One merge of everything that waits."""

    def __init__(
        self, connection: psycopg.Connection[Any], manifest: Manifest,
        staged: Mapping[TableName, Staged], guards: Guards, options: RestoreOptions,
        confirm: Confirm,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._manifest = manifest
        self._staged = staged
        self._guards = guards
        self._mode = options.mode
        self._dry_run = options.dry_run
        self._confirm = confirm

    def run(self) -> Merged:
        """RestoreError when the mode forbids it, or nobody agreed to what would go. The driver's
        errors pass."""
        for staged in self._staged.values():
            self._index(staged)
        if self._mode is Mode.REPLACE:
            plan = self._plan()
            if self._dry_run:
                return self._merged(plan, None)
            self._ask(plan)
            self._guards.lock()
            locked = self._plan()
            if locked.removed > plan.removed or locked.orphans > plan.orphans:
                raise RestoreError(
                    "While it was asked, more rows came that would go. Nothing was changed: try "
                    "again, best while nobody writes."
                )
            plan = locked
        else:
            if not self._dry_run:
                self._guards.lock()
            plan = self._plan()
            self._refuse_existing(plan)
            self._refuse_losses(plan)
            if self._dry_run:
                return self._merged(plan, None)
        return self._merged(plan, self._apply(plan))

    def _apply(self, plan: _Plan) -> UUID | None:
        keeps = self._mode in (Mode.OVERWRITE, Mode.REPLACE)
        changed = any(c.inserted or c.overwritten or c.removed for c in plan.changes.values())
        kept = (
            Kept.begin(self._connection, self._manifest, self._mode) if keeps and changed else None
        )
        outside = Guards(self._connection, [name for o in plan.outsiders for name in o.tables])
        outside.check()
        outside.lock()
        outside.open_eyes()
        if kept is not None:
            for staged in self._staged.values():
                self._keep(kept, staged)
            for found in plan.outsiders:
                found.keep(kept)
        outside.raise_()
        self._guards.raise_()
        self._change()
        self._guards.lower()
        outside.lower()
        for name, staged in self._staged.items():
            if plan.changes[name].inserted or plan.changes[name].overwritten:
                places = [staged.selected, staged.along]
                sequences.advance(self._connection, staged.match.oid, places)
        return None if kept is None else kept.restore_id

    def _change(self) -> None:
        """The rows themselves; where values are in each other's way, these step aside first."""
        keeps = self._mode in (Mode.OVERWRITE, Mode.REPLACE)
        for staged in self._staged.values() if keeps else ():
            self._open_identities(staged)
        if not keeps:
            self._write()
            return
        parking = Parking(
            self._connection, self._guards, [self._moving(s) for s in self._staged.values()]
        )
        if not parking.needed():
            try:
                with self._connection.transaction():
                    self._write()
                return
            except IN_THE_WAY:
                pass  # it is as it was before, and asked again below
        parking.open()
        parking.step_aside()
        self._write()
        parking.come_back()

    def _write(self) -> None:
        if self._mode is Mode.REPLACE:
            for staged in reversed(list(self._staged.values())):
                self._delete(staged)
        if self._mode in (Mode.OVERWRITE, Mode.REPLACE):
            for staged in self._staged.values():
                self._update(staged)
        for staged in self._staged.values():
            report("merge", str(staged.match.name))
            self._insert(staged)

    def _moving(self, staged: Staged) -> Moving:
        match, selected = staged.match, staged.match.source(staged.selected)
        same, alike = match.same("t", "s"), match.alike("t", "s")
        if not match.key:
            return Moving(match, "false", "false", "true")
        stays = f"EXISTS (SELECT FROM {selected} s WHERE {same})"
        if self._mode is Mode.REPLACE:
            moves = f"NOT EXISTS (SELECT FROM {selected} s WHERE {same} AND {alike})"
            return Moving(match, moves, "true", stays)
        moves = f"EXISTS (SELECT FROM {selected} s WHERE {same} AND NOT ({alike}))"
        return Moving(match, moves, stays, "true")

    def _plan(self) -> _Plan:
        changes, existing = {}, {}
        for name, staged in self._staged.items():
            report("compare", str(name))
            match = staged.match
            selected, along, live = (
                match.source(place) for place in (staged.selected, staged.along, match.table)
            )
            there = f"EXISTS (SELECT FROM {live} t WHERE {match.same('t', 's')})"
            alike = (
                f"EXISTS (SELECT FROM {live} t WHERE {match.same('t', 's')}"
                f" AND {match.alike('t', 's')})"
            )
            total = self._count(f"{selected} s")
            found = self._count(f"{selected} s WHERE {there}")
            equal = self._count(f"{selected} s WHERE {alike}")
            came, here = self._count(f"{along} s"), self._count(f"{along} s WHERE {there}")
            gone = 0
            if self._mode is Mode.REPLACE:
                absent = f"NOT EXISTS (SELECT FROM {selected} s WHERE {match.same('t', 's')})"
                gone = self._count(f"{live} t WHERE {absent}")
            keeps = self._mode in (Mode.OVERWRITE, Mode.REPLACE)
            existing[name] = found
            changes[name] = Changes(
                inserted=total - found + came - here,
                skipped=(equal if keeps else found) + here,
                overwritten=found - equal if keeps else 0,
                removed=gone,
            )
        keeps = self._mode in (Mode.OVERWRITE, Mode.REPLACE)
        moved = [self._moved(staged) for staged in self._staged.values()] if keeps else []
        found_outside = outsiders(self._connection, moved)
        return _Plan(changes, existing, found_outside)

    def _moved(self, staged: Staged) -> Moved:
        match, gone = staged.match, None
        if self._mode is Mode.REPLACE:
            gone = (
                f"SELECT t.* FROM {match.table} t WHERE NOT EXISTS (SELECT FROM"
                f" {match.source(staged.selected)} s WHERE {match.same('t', 's')})"
            )
        return Moved(match, gone, staged.selected)

    def _refuse_existing(self, plan: _Plan) -> None:
        there = {name: rows for name, rows in plan.existing.items() if rows}
        if self._mode is Mode.FAIL and there and not self._dry_run:
            listed = ", ".join(f"{rows} rows of {name}" for name, rows in there.items())
            raise RestoreError(
                f"The target holds rows of the backup already: {listed}. Nothing was changed: use "
                "--mode skip to keep what is there, --mode overwrite to put it back as it was, or "
                "--mode replace to have nothing but the backup's rows; --dry-run tells what each "
                "would do."
            )

    def _refuse_losses(self, plan: _Plan) -> None:
        """`overwrite` does not ask: it takes nothing from rows that it does not know."""
        losing = [found for found in plan.outsiders if not found.follows]
        if losing:
            listed = ", ".join(f"{f.rows} rows of {f.table} (by {f.constraint})" for f in losing)
            raise RestoreError(
                f"Rows that are not restored reference values that would change: {listed}, and "
                "would lose the reference. Nothing was changed: change those rows first."
            )

    def _ask(self, plan: _Plan) -> None:
        forbidden = [found for found in plan.outsiders if found.forbidden]
        if forbidden:
            listed = ", ".join(f"{f.rows} rows of {f.table} (by {f.constraint})" for f in forbidden)
            raise RestoreError(
                f"Rows outside the backup reference rows that would go: {listed}, and their "
                "foreign key does not let them. Nothing was changed: remove or change those rows "
                "first, or use --mode overwrite."
            )
        if not plan.removed and not plan.orphans:
            return
        parts = []
        if plan.removed:
            listed = ", ".join(f"{c.removed} of {n}" for n, c in plan.changes.items() if c.removed)
            parts.append(
                f"{plan.removed} live rows that are newer than the backup would be removed "
                f"({listed})"
            )
        parts += [found.described() for found in plan.outsiders if not found.follows]
        question = "; ".join(parts) + ". Copies are kept for --undo."
        if not self._confirm(question):
            raise RestoreError(
                f"{question} Nothing was changed: agree with --yes, or use --mode overwrite, which "
                "removes nothing."
            )

    def _keep(self, kept: Kept, staged: Staged) -> None:
        match = staged.match
        selected, along, live = (
            match.source(place) for place in (staged.selected, staged.along, match.table)
        )
        table = kept.table(match)
        if match.key:
            table.add(
                "overwritten",
                f"FROM {live} t WHERE EXISTS (SELECT FROM {selected} s"
                f" WHERE {match.same('t', 's')} AND NOT ({match.alike('t', 's')}))",
            )
        if self._mode is Mode.REPLACE:
            table.add(
                "removed",
                f"FROM {live} t WHERE NOT EXISTS (SELECT FROM {selected} s"
                f" WHERE {match.same('t', 's')})",
            )
        for place in (selected, along):
            table.add_new(
                f"FROM {place} s WHERE NOT EXISTS (SELECT FROM {live} t"
                f" WHERE {match.same('t', 's')})"
            )

    def _delete(self, staged: Staged) -> None:
        match = staged.match
        selected, live = match.source(staged.selected), match.source(match.table)
        absent = f"NOT EXISTS (SELECT FROM {selected} s WHERE {match.same('t', 's')})"
        if match.key:
            sql = f"DELETE FROM {match.table} t WHERE {absent}"
        else:
            sql = (
                f"DELETE FROM {match.table} d USING {live} t WHERE d.tableoid = t.convault_table"
                f" AND d.ctid = t.convault_ctid AND {absent}"
            )
        self._connection.execute(sql.encode())

    def _open_identities(self, staged: Staged) -> None:
        """GENERATED ALWAYS refuses updates; and a table with checks that wait, to be altered."""
        match = staged.match
        for column in _changing(match) if match.key else ():
            if column.identity == "a":
                alter = f"ALTER TABLE {match.name.quoted} ALTER COLUMN {quoted(column.name)}"
                self._guards.alter(
                    f"{alter} SET GENERATED BY DEFAULT", f"{alter} SET GENERATED ALWAYS"
                )

    def _update(self, staged: Staged) -> None:
        match = staged.match
        changing = _changing(match)
        if not match.key or not changing:
            return
        sets = ", ".join(f"{quoted(c.name)} = s.{quoted(c.name)}" for c in changing)
        self._connection.execute(
            f"UPDATE {match.table} t SET {sets} FROM {staged.selected} s"
            f" WHERE {match.same('t', 's')} AND NOT ({match.alike('t', 's')})".encode()
        )

    def _insert(self, staged: Staged) -> None:
        match = staged.match
        live = match.source(match.table)
        for place in (staged.selected, staged.along):
            columns = f" ({match.names})" if match.columns else ""
            self._connection.execute(
                f"INSERT INTO {match.name.quoted}{columns} OVERRIDING SYSTEM VALUE"
                f" SELECT {match.names} FROM {match.source(place)} s WHERE NOT EXISTS"
                f" (SELECT FROM {live} t WHERE {match.same('t', 's')})".encode()
            )

    def _index(self, staged: Staged) -> None:
        for place in (staged.selected, staged.along):
            if staged.match.key:
                key = ", ".join(map(quoted, staged.match.key))
                self._connection.execute(f"CREATE INDEX ON {place} ({key})".encode())
            self._connection.execute(f"ANALYZE {place}".encode())

    def _merged(self, plan: _Plan, restore_id: UUID | None) -> Merged:
        rows = {
            name: change.inserted + change.skipped + change.overwritten
            for name, change in plan.changes.items()
        }
        return Merged(plan.changes, rows, restore_id)

    def _count(self, what: str) -> int:
        row = self._connection.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()
        return int(row[0]) if row else 0


def _changing(match: Match) -> list[Column]:
    """The columns that an update may change."""
    fixed = {*match.key, *match.masked}
    return [column for column in match.columns if column.name not in fixed]
