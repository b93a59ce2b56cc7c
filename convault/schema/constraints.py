"""Checks, primary keys, unique, exclusion and foreign key constraints."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from convault.models import Dataset, Statement, TableName
from convault.schema.catalogs import Catalogs
from convault.schema.columns import options
from convault.schema.graph import Graph, Key

_CHECKS = """
    SELECT c.oid::int8 AS oid, c.conrelid::int8 AS relation, quote_ident(c.conname) AS name,
        pg_get_constraintdef(c.oid) AS definition, c.conislocal AS local,
        r.relispartition AS of_partition, c.convalidated AND EXISTS (
            SELECT FROM pg_catalog.pg_inherits i
            JOIN pg_catalog.pg_constraint p ON p.conrelid = i.inhparent AND p.contype = 'c'
                AND p.conname = c.conname AND NOT p.convalidated
            WHERE i.inhrelid = c.conrelid) AS surer
    FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
    CROSS JOIN LATERAL (
        WITH RECURSIVE above(parent, steps) AS (
            SELECT i.inhparent, 1 FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.conrelid
            UNION ALL
            SELECT i.inhparent, a.steps + 1
            FROM above a JOIN pg_catalog.pg_inherits i ON i.inhrelid = a.parent)
        SELECT coalesce(max(steps), 0) AS depth FROM above) a
    WHERE c.conrelid = ANY (%(oids)s::oid[]) AND c.contype = 'c'
    ORDER BY a.depth DESC, c.conrelid, c.conname
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


def read_checks(catalogs: Catalogs, dataset: Dataset) -> list[Any]:
    """The check constraints of all tables; those of heirs and partitions before their parents',
    which merge with them then and take nothing from them."""
    return catalogs.rows(_CHECKS, _oids(dataset))


def check_statements(graph: Graph, checks: Collection[Any]) -> dict[Key, Statement]:
    """ADD CONSTRAINT for every check, after the rows; to heirs and partitions it comes from above.

    Old rows may break a check: one that is not validated, one that calls a function which was
    replaced, or which looks at tables that are not loaded yet. Where a check is refused then, the
    rows are there.
    """
    added, validated = {}, {}
    for check in checks:
        key = Key("pg_constraint", check.oid)
        alter = f"ALTER TABLE {graph.name('pg_class', check.relation)}"
        # `surer`: validated here, and not in the parent that it comes from.
        if check.local or (check.surer and check.of_partition):
            added[key] = _statement(graph, key, "constraint", f"{alter} {_add(check)}")
        elif check.surer:
            sql = f"{alter} VALIDATE CONSTRAINT {check.name}"
            validated[key] = _statement(graph, key, "constraint", sql)
    return added | validated


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
            needs=() if inside else (str(TableName(row.schema, row.referenced_name)),),
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
