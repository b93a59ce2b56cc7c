"""Checks, primary keys, unique, exclusion and foreign key constraints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from convault.models import Dataset, Statement, TableName
from convault.schema.catalogs import Catalogs
from convault.schema.columns import options
from convault.schema.graph import Graph, Key

_CHECKS = """
    SELECT c.oid::int8 AS oid, c.conrelid::int8 AS relation, quote_ident(c.conname) AS name,
        pg_get_constraintdef(c.oid) AS definition, c.convalidated AS validated,
        c.conislocal AS local
    FROM pg_catalog.pg_constraint c
    WHERE c.conrelid = ANY (%(oids)s::oid[]) AND c.contype = 'c'
    ORDER BY c.conrelid, c.conname
"""

_KEYS = """
    SELECT c.oid::int8 AS oid, c.conrelid::int8 AS relation, quote_ident(c.conname) AS name,
        c.contype::text AS type, pg_get_constraintdef(c.oid) AS definition,
        c.condeferrable AS deferrable, c.condeferred AS deferred, i.reloptions AS options
    FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class i ON i.oid = c.conindid
    WHERE c.conrelid = ANY (%(oids)s::oid[]) AND c.contype IN ('p', 'u', 'x')
    ORDER BY c.contype = 'p' DESC, c.conname
"""

_FOREIGN_KEYS = """
    SELECT c.oid::int8 AS oid, c.conrelid::int8 AS relation, quote_ident(c.conname) AS name,
        pg_get_constraintdef(c.oid) AS definition, r.relkind::text AS kind,
        c.confrelid::int8 AS referenced, fn.nspname AS schema, f.relname AS referenced_name
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
    JOIN pg_catalog.pg_class f ON f.oid = c.confrelid
    JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
    WHERE c.conrelid = ANY (%(oids)s::oid[]) AND c.contype = 'f' AND c.conparentid = 0
    ORDER BY c.conname
"""


def read_checks(catalogs: Catalogs, dataset: Dataset) -> dict[int, list[Any]]:
    """The check constraints of each table."""
    checks: dict[int, list[Any]] = defaultdict(list)
    for row in catalogs.rows(_CHECKS, {"oids": [table.oid for table in dataset.tables]}):
        checks[row.relation].append(row)
    return checks


def late_checks(graph: Graph, checks: Collection[Any]) -> set[Key]:
    """Checks to be added after the rows: those that old rows may break (NOT VALID, NOT ENFORCED),
    and those that call a function, which may look at tables that are not loaded yet."""
    late = set()
    for check in checks:
        key = Key("pg_constraint", check.oid)
        needed = graph.edges.get(key, set()) - {Key("pg_class", check.relation)}
        calls = any(k.catalog == "pg_proc" for k in graph.closure(needed, stop=graph.tables))
        if calls or not check.validated:
            late.add(key)
    return late


def check_statements(
    graph: Graph, checks: Collection[Any], apart: Collection[Key]
) -> dict[Key, Statement]:
    """ADD CONSTRAINT for the checks in `apart`; to heirs and partitions they come from above."""
    made = {}
    for check in checks:
        key = Key("pg_constraint", check.oid)
        if key in apart and check.local:
            sql = f"ALTER TABLE {graph.name('pg_class', check.relation)} {_add(check)}"
            made[key] = _statement(graph, key, "constraint", sql)
    return made


def key_statements(catalogs: Catalogs, graph: Graph, dataset: Dataset) -> dict[Key, Statement]:
    """Primary keys, unique and exclusion constraints, each table's own; those of partitions are
    attached to their parent's by `indexes`."""
    made = {}
    for row in _by_table(catalogs.rows(_KEYS, _oids(dataset)), dataset):
        key = Key("pg_constraint", row.oid)
        definition = row.definition
        if row.type != "x" and row.options:
            # pg_get_constraintdef leaves them out; they stand before DEFERRABLE.
            end = " DEFERRABLE" if row.deferrable else ""
            end += " INITIALLY DEFERRED" if row.deferred else ""
            definition = f"{definition.removesuffix(end)} WITH ({options(row.options)}){end}"
        sql = (
            f"ALTER TABLE ONLY {graph.name('pg_class', row.relation)} "
            f"ADD CONSTRAINT {row.name} {definition}"
        )
        kind = "primary key" if row.type == "p" else "constraint"
        made[key] = _statement(graph, key, kind, sql)
    return made


def foreign_key_statements(
    catalogs: Catalogs, graph: Graph, dataset: Dataset
) -> dict[Key, Statement]:
    """Foreign keys, once for a partition tree. One that refers to a table outside says so."""
    made = {}
    for row in _by_table(catalogs.rows(_FOREIGN_KEYS, _oids(dataset)), dataset):
        inside = Key("pg_class", row.referenced) in graph.tables
        table = graph.name("pg_class", row.relation)
        only = "" if row.kind == "p" else "ONLY "
        made[Key("pg_constraint", row.oid)] = Statement(
            "foreign key",
            f"{row.name} on {table}",
            f"ALTER TABLE {only}{table} {_add(row)}",
            after_data=True,
            needs=None if inside else str(TableName(row.schema, row.referenced_name)),
        )
    return made


def _add(row: Any) -> str:
    return f"ADD CONSTRAINT {row.name} {row.definition}"


def _statement(graph: Graph, key: Key, kind: str, sql: str) -> Statement:
    return Statement(kind, graph.things[key].name, sql, after_data=True, needs=graph.outside(key))


def _oids(dataset: Dataset) -> dict[str, object]:
    return {"oids": [table.oid for table in dataset.tables]}


def _by_table(rows: list[Any], dataset: Dataset) -> list[Any]:
    order = {table.oid: number for number, table in enumerate(dataset.tables)}
    return sorted(rows, key=lambda row: order[row.relation])
