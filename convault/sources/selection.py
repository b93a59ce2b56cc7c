"""Which rows a filtered backup holds: found in the snapshot, as places of rows.

First the rows of the root that match; then, step by step along the keys, the rows that belong to
these; then what any of them refers to, until nothing new is found. Each step is one query for a
batch of rows and gives places, never values. Nothing is written to the source, no temporary table
either, so a standby and a role that may only read will do. What is held here is 8 bytes a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import psycopg

from convault.dataset.descent import Descent, Step
from convault.dataset.filters import absent_ids, facts_of
from convault.dataset.scope import Scope
from convault.formats.postgres_types import quoted
from convault.models import Dataset, Range, Selection, Table, TableName
from convault.progress import report
from convault.ranges import tids
from convault.sources.comparing import Conditions, read_conditions
from convault.sources.filtering import missing_ids, root_conditions
from convault.sources.proof import leads_to, moved
from convault.sources.users import without_masked_references

BATCH = 100_000
"""Rows that one query starts from: about 1.5 MB of SQL. A key without an index costs a scan of its
table for each."""


@dataclass(frozen=True, slots=True)
class Selected:
    """The selected rows of each table, by its oid, in the order of their pages."""

    facts: Selection
    warnings: tuple[str, ...] = ()
    rows: Mapping[int, pl.Series] = field(default_factory=dict)

    def of(self, table: Table) -> pl.Series:
        """All of the table's."""
        return self.rows.get(table.oid, tids.NONE)

    def within(self, table: Table, range_: Range) -> pl.Series:
        """Those of the range."""
        return tids.between(self.of(table), range_.first_page, range_.end_page)


def select(connection: psycopg.Connection[Any], dataset: Dataset, scope: Scope) -> Selected | None:
    """The rows that the filters of `scope` select, as the connection's transaction sees them; None
    when there is no filter. OptionsError as `root_conditions` raises it; SnapshotLost."""
    filters = scope.filters
    conditions = root_conditions(connection, dataset, filters)
    if not conditions:
        return None
    assert dataset.root is not None
    walk = _Walk(connection, without_masked_references(dataset))
    matching = walk.start(dataset.root, conditions)
    walk.down(matching)
    walk.up()
    _require_names(connection, dataset)
    missing = missing_ids(connection, dataset, filters)
    warnings = []
    if missing:
        warnings.append(absent_ids(missing, filters, dataset.root))
    count = sum(map(len, matching.values()))
    return Selected(facts_of(filters, count), tuple(warnings), walk.rows)


def count_selected(
    connection: psycopg.Connection[Any], table: Table, rows: pl.Series, aggregate: str
) -> tuple[int, bool, str | None]:
    """How many of the rows the snapshot shows, whether the table's name leads to it, and the sum of
    what `aggregate` gives (a whole number as text; None when it gives NULL for some of them)."""
    total, added = 0, []
    for batch in tids.slices(rows, BATCH):
        row = connection.execute(
            f"SELECT pg_catalog.count(*), {aggregate} FROM ONLY {table.name.quoted}"
            f" WHERE ctid = ANY ({tids.literal(batch)}) AND tableoid = {table.oid}".encode()
        ).fetchone()
        assert row is not None
        total += row[0]
        added.append(row[1])
    leads = connection.execute(f"SELECT {leads_to(table)}".encode()).fetchone()
    whole = None if None in added else str(sum(map(int, added)))
    return total, leads == (True,), whole


def _require_names(connection: psycopg.Connection[Any], dataset: Dataset) -> None:
    row = connection.execute(
        f"SELECT {' AND '.join(map(leads_to, dataset.tables))}".encode()
    ).fetchone()
    if row != (True,):
        raise moved()


Found = dict[int, pl.Series]
"""rows by table"""


class _Walk:
    """`rows` grows with every step."""

    def __init__(self, connection: psycopg.Connection[Any], dataset: Dataset) -> None:
        self.rows: Found = {}
        self._connection = connection
        self._descent = Descent(dataset)
        self._conditions: Conditions = read_conditions(connection, dataset)
        self._tables = {table.oid: table for table in dataset.tables}
        self._kinds = {table.name: table.kind for table in dataset.tables}

    def start(self, root: TableName, conditions: Iterable[str]) -> Found:
        """The rows of the root, wherever they lie, that meet all conditions."""
        where = " AND ".join(f"({condition})" for condition in conditions)
        return self._add([self._ask(f"{root.quoted} r WHERE {where}", "r")])

    def down(self, fresh: Found) -> None:
        """Everything that belongs to the rows."""
        self._spread(fresh, self._descent.down, self._referring)

    def up(self) -> None:
        """Everything that the rows found so far refer to."""

        def first(table: Table) -> list[Step]:
            settled = self._descent.settled(table)
            return [step for step in self._descent.up(table) if step != settled]

        fresh = self._found(dict(self.rows), first, self._referred)
        self._spread(self._add(fresh), self._descent.up, self._referred)

    def _spread(
        self, fresh: Found, steps: Callable[[Table], list[Step]],
        query: Callable[[Step, Table, str], str],
    ) -> None:  # fmt: skip
        while fresh:
            fresh = self._add(self._found(fresh, steps, query))

    def _found(
        self, fresh: Found, steps: Callable[[Table], list[Step]],
        query: Callable[[Step, Table, str], str],
    ) -> list[Found]:  # fmt: skip
        found = []
        for oid, rows in fresh.items():
            table = self._tables[oid]
            for step in steps(table):
                target = "o" if query == self._referring else "r"
                for batch in tids.slices(rows, BATCH):
                    found.append(self._ask(query(step, table, tids.literal(batch)), target))
        return found

    def _referring(self, step: Step, table: Table, rows: str) -> str:
        """Rows of the key's table, its partitions and heirs, that refer to these rows."""
        unless = "".join(
            " AND (" + " OR ".join(f"o.{quoted(column)} IS NULL" for column in columns) + ")"
            for columns in step.unless
        )
        return (
            f"{step.key.table.quoted} o WHERE EXISTS (SELECT FROM ONLY {table.name.quoted} r"
            f" WHERE r.ctid = ANY ({rows}) AND r.tableoid = {table.oid}"
            f" AND {self._conditions[step.key]}){unless}"
        )

    def _referred(self, step: Step, table: Table, rows: str) -> str:
        """Rows that these rows refer to. A foreign key leads to no heir's."""
        key = step.key
        only = "" if key.declared or self._kinds[key.references] == "p" else "ONLY "
        return (
            f"{only}{key.references.quoted} r WHERE EXISTS (SELECT FROM ONLY {table.name.quoted} o"
            f" WHERE o.ctid = ANY ({rows}) AND o.tableoid = {table.oid}"
            f" AND {self._conditions[key]})"
        )

    def _ask(self, from_: str, row: str) -> Found:
        query = f"COPY (SELECT {row}.tableoid, {row}.ctid FROM {from_}) TO STDOUT (FORMAT BINARY)"
        with self._connection.cursor() as cursor, cursor.copy(query.encode()) as blocks:
            found = tids.decoded(map(bytes, blocks))
        return {oid: rows for oid, rows in found.items() if oid in self._tables}

    def _add(self, several: Iterable[Found]) -> Found:
        """Those that are new, which are known from now on."""
        together: dict[int, list[pl.Series]] = {}
        for found in several:
            for oid, rows in found.items():
                together.setdefault(oid, []).append(rows)
        fresh = {}
        for oid, sets in together.items():
            known = self.rows.get(oid, tids.NONE)
            new = tids.new_in(tids.together(*sets), known)
            if len(new):
                fresh[oid] = new
                self.rows[oid] = tids.together(known, new)
        total = sum(map(len, self.rows.values()))
        report("select", "finding the rows that belong", done=total, unit="rows")
        return fresh
