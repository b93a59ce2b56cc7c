"""Tables: partitions, inheritance, storage parameters, row security."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convault.errors import UnsupportedSource
from convault.models import Dataset, Statement
from convault.schema import columns as column
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

# UNLOGGED means nothing for a partitioned table, and 18 refuses it.
_TABLES = """
    SELECT c.oid::int8 AS oid, c.relpersistence = 'u' AND c.relkind = 'r' AS unlogged,
        c.relispartition AS is_partition, pg_get_partkeydef(c.oid) AS partition_key,
        pg_get_expr(c.relpartbound, c.oid) AS bound, c.relrowsecurity AS secured,
        c.relforcerowsecurity AS forced, c.relreplident::text AS replica_identity,
        c.reloptions AS options, toast.reloptions AS toast_options,
        CASE WHEN am.amname <> 'heap' THEN quote_ident(am.amname) END AS access_method,
        nullif(c.reloftype, 0)::regtype::text AS of_type
    FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_class toast ON toast.oid = c.reltoastrelid
    LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
    WHERE c.oid = ANY (%(oids)s::oid[])
"""

_PARENTS = """
    SELECT i.inhrelid::int8 AS child, i.inhparent::int8 AS parent, i.inhdetachpending AS detaching,
        i.inhparent::regclass::text AS parent_name
    FROM pg_catalog.pg_inherits i WHERE i.inhrelid = ANY (%(oids)s::oid[])
    ORDER BY i.inhrelid, i.inhseqno
"""


@dataclass(slots=True)
class Tables:
    """The statements of tables, by when they run."""

    made: dict[Key, list[Statement]] = field(default_factory=lambda: defaultdict(list))
    """CREATE TABLE with row security; and SET DEFAULT for defaults that come by themselves"""
    joined: list[Statement] = field(default_factory=list)
    """once all tables are there: partitions and heirs attached, settings of columns"""
    forced: list[Statement] = field(default_factory=list)
    """FORCE ROW LEVEL SECURITY, after everything that the owner has to read or write"""
    not_null: list[Statement] = field(default_factory=list)
    """not-null constraints that are not validated: after the rows"""


@dataclass(frozen=True, slots=True)
class _Table:
    row: Any
    name: str
    columns: Sequence[Any]
    parents: Sequence[int]
    whole: bool
    """made with all its columns, in its own order, and attached to its parents afterwards"""

    def prints(self, c: Any) -> bool:
        return bool(self.whole or c.local)


def read_tables(
    catalogs: Catalogs,
    graph: Graph,
    dataset: Dataset,
) -> list[_Table]:
    """Everything that CREATE TABLE needs, in the dataset's order.

    UnsupportedSource when a parent is not in the dataset, or a partition is being detached.
    """
    oids = [table.oid for table in dataset.tables]
    rows = {row.oid: row for row in catalogs.rows(_TABLES, {"oids": oids})}
    columns = column.read_columns(catalogs, oids)
    parents: dict[int, list[int]] = defaultdict(list)
    for row in catalogs.rows(_PARENTS, {"oids": oids}):
        name = graph.name("pg_class", row.child)
        if row.detaching:
            raise UnsupportedSource(
                f"The partition {name} is being detached from {row.parent_name}. Nothing was "
                "backed up: finish with ALTER TABLE ... DETACH PARTITION ... FINALIZE.",
                table=name,
            )
        if Key("pg_class", row.parent) not in graph.tables:
            raise UnsupportedSource(
                f"The table {name} cannot be made without {row.parent_name}, which is not part of "
                "the backup. Nothing was backed up.",
                table=name,
            )
        parents[row.child].append(row.parent)
    whole = _whole(graph, rows, columns, parents)
    return [
        _Table(rows[oid], graph.name("pg_class", oid), columns[oid], parents[oid], oid in whole)
        for oid in oids
    ]


def _whole(
    graph: Graph,
    rows: Mapping[int, Any],
    columns: Mapping[int, Sequence[Any]],
    parents: Mapping[int, Sequence[int]],
) -> set[int]:
    """Tables to be made with all their columns, in their own order, and attached afterwards.

    So are heirs whose row type is used, where INHERITS would put columns in another order (a parent
    got one later): a value of a row type is written by position. The price is that such an heir
    calls all its columns its own, and keeps one that is dropped from its parent.
    """
    whole: set[int] = set()
    made: dict[int, list[str]] = {}
    """columns in the order that they will have"""

    def order(oid: int) -> list[str]:
        if oid not in made:
            own = [c.plain_name for c in columns[oid]]
            above = [name for parent in parents.get(oid, ()) for name in order(parent)]
            made[oid] = list(dict.fromkeys([*above, *own]))
            by_position = made[oid] != own and Key("pg_class", oid) in graph.row_types
            if rows[oid].is_partition or by_position or _all_its_own(columns[oid]):
                whole.add(oid)
                made[oid] = own
        return made[oid]

    for oid in rows:
        order(oid)
    return whole


def _all_its_own(columns: Sequence[Any]) -> bool:
    """Whether a table declares by itself what it also inherits. Then it can be made by itself and
    keeps the order of its columns; INHERITS in CREATE TABLE puts the parents' columns first."""
    return all(c.local and c.not_null_local is not False for c in columns)


def inherited_defaults(tables: Collection[_Table]) -> set[Key]:
    """Defaults of columns that CREATE TABLE does not name, because the parent brings them."""
    return {
        column.default_key(c)
        for table in tables
        for c in table.columns
        if c.default_oid and not c.generated and not table.prints(c)
    }


def table_statements(graph: Graph, tables: Collection[_Table], apart: Collection[Key]) -> Tables:
    """Statements for every table; `apart` are the defaults and checks that come by themselves."""
    made = Tables()
    by_oid = {table.row.oid: table for table in tables}
    for table in tables:
        key = Key("pg_class", table.row.oid)
        _require_inside(graph, key)
        create = Statement("table", table.name, _create(graph, table, apart), after_data=False)
        made.made[key].append(create)
        _row_security(made, key, table)
        for c in table.columns:
            if c.default_oid and column.default_key(c) in apart:
                default = column.later_default(graph, table.name, c)
                made.made[column.default_key(c)].append(default)
        _join(made, graph, table, [by_oid[parent] for parent in table.parents])
    return made


def _require_inside(graph: Graph, key: Key) -> None:
    outside = graph.outside(key)
    if outside:
        name = graph.things[key].name
        raise UnsupportedSource(
            f"The table {name} is built on {outside[0]}, which is not part of the backup, so a "
            "restore could not make it. Nothing was backed up.",
            table=name,
        )


def _create(graph: Graph, table: _Table, apart: Collection[Key]) -> str:
    row = table.row
    elements = []
    for c in table.columns:
        if table.prints(c):
            # Two parents' defaults may differ, and then CREATE TABLE wants a word of its own.
            undecided = c.inherited and not table.whole and len(table.parents) > 1
            elements.append(
                column.definition(c, typed=bool(row.of_type), apart=apart, undecided=undecided)
            )
        else:
            elements.append(column.own_not_null(c))
    listed = ",\n    ".join(element for element in elements if element)
    sql = f"CREATE {'UNLOGGED ' if row.unlogged else ''}TABLE {table.name}"
    if row.of_type:
        sql += f" OF {row.of_type}"
    if listed or not row.of_type:
        sql += f" (\n    {listed}\n)" if listed else " ()"
    if table.parents and not table.whole:
        sql += f"\nINHERITS ({', '.join(graph.name('pg_class', oid) for oid in table.parents)})"
    if row.partition_key:
        sql += f"\nPARTITION BY {row.partition_key}"
    if row.access_method:
        sql += f"\nUSING {row.access_method}"
    given = [
        column.options(row.options or ()),
        column.options(row.toast_options or (), prefix="toast."),
    ]
    if any(given):
        sql += f"\nWITH ({', '.join(filter(None, given))})"
    return sql


def _row_security(made: Tables, key: Key, table: _Table) -> None:
    alter = f"ALTER TABLE ONLY {table.name}"
    if table.row.secured:
        # Before the rows, so that they are closed to others from the start.
        sql = f"{alter} ENABLE ROW LEVEL SECURITY"
        made.made[key].append(Statement("row security", table.name, sql, after_data=False))
    if table.row.forced:
        sql = f"{alter} FORCE ROW LEVEL SECURITY"
        made.forced.append(Statement("row security", table.name, sql, after_data=True))


def _join(made: Tables, graph: Graph, table: _Table, parents: Sequence[_Table]) -> None:
    def add(sql: str, kind: str = "table", *, after_data: bool = False) -> None:
        target = made.not_null if after_data else made.joined
        target.append(Statement(kind, table.name, sql, after_data))

    alter = f"ALTER TABLE ONLY {table.name}"
    if table.row.is_partition:
        add(
            f"ALTER TABLE ONLY {parents[0].name} ATTACH PARTITION {table.name} {table.row.bound}",
            "partition",
        )
    elif table.whole:
        for parent in parents:
            add(f"{alter} INHERIT {parent.name}")
    else:
        _correct_inherited(add, alter, table, parents)
    for c in table.columns:
        if c.not_null_name and not c.not_null_validated and c.not_null_local:
            inherit = " NO INHERIT" if c.not_null_no_inherit else ""
            add(
                f"ALTER TABLE {table.name} ADD CONSTRAINT {c.not_null_name} "
                f"NOT NULL {c.name}{inherit} NOT VALID",
                "constraint",
                after_data=True,
            )
    setting = column.settings(table.name, table.columns)
    if setting:
        made.joined.append(setting)
    if table.row.replica_identity in ("f", "n"):
        add(
            f"{alter} REPLICA IDENTITY {'FULL' if table.row.replica_identity == 'f' else 'NOTHING'}"
        )


def _correct_inherited(add: Any, alter: str, table: _Table, parents: Sequence[_Table]) -> None:
    """Undo what INHERITS brought and the table does not have; add what it has beyond that."""
    for c in table.columns:
        above = [p for parent in parents for p in parent.columns if p.plain_name == c.plain_name]
        if c.default_oid is None and any(p.default_oid and not p.generated for p in above):
            add(f"{alter} ALTER COLUMN {c.name} DROP DEFAULT", "column default")
        undeclared = c.not_null and c.not_null_name is None and not table.prints(c)
        if undeclared and not any(p.not_null for p in above):
            add(f"{alter} ALTER COLUMN {c.name} SET NOT NULL")
