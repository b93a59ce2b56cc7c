"""Indexes, what partitions' indexes hang on, and what a table does with one of its indexes."""

from __future__ import annotations

import logging
from typing import Any

from convault.models import Dataset, Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

_logger = logging.getLogger(__name__)

# A partitioned index is invalid while a partition lacks its own; it can be made all the same.
_INDEXES = """
    SELECT i.indexrelid::int8 AS oid, i.indrelid::int8 AS relation,
        i.indexrelid::regclass::text AS name, quote_ident(c.relname) AS plain_name,
        pg_get_indexdef(i.indexrelid) AS definition, i.indisclustered AS clustered,
        i.indisreplident AS identifies, p.inhparent::regclass::text AS parent,
        (i.indisvalid AND i.indisready AND i.indislive) OR c.relkind = 'I' AS usable,
        EXISTS (SELECT FROM pg_catalog.pg_constraint k
            WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid
                AND k.contype IN ('p', 'u', 'x')) AS of_constraint
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_catalog.pg_inherits p ON p.inhrelid = i.indexrelid
    WHERE i.indrelid = ANY (%(oids)s::oid[])
    ORDER BY c.relname
"""

_STATISTICS_TARGETS = """
    SELECT a.attrelid::int8 AS oid, a.attnum AS number, a.attstattarget AS target
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = ANY (%(oids)s::oid[]) AND a.attstattarget >= 0
    ORDER BY a.attrelid, a.attnum
"""


def index_statements(
    catalogs: Catalogs, graph: Graph, dataset: Dataset
) -> tuple[dict[Key, Statement], list[Statement], set[Key]]:
    """CREATE INDEX for each index that is not a constraint's, what comes once all are there, and
    the indexes that are left out.

    An invalid index (CREATE INDEX CONCURRENTLY that failed) is left out with a warning: nothing
    used it, and making it again could fail on the rows.
    """
    order = {table.oid: number for number, table in enumerate(dataset.tables)}
    rows = catalogs.rows(_INDEXES, {"oids": list(order)})
    rows.sort(key=lambda row: order[row.relation])
    made: dict[Key, Statement] = {}
    then: list[Statement] = []
    left_out: set[Key] = set()
    for row in rows:
        key = Key("pg_class", row.oid)
        if not row.usable:
            left_out.add(key)
            _logger.warning(
                "The index %s is invalid and was left out of the backup. REINDEX or drop it.",
                row.name,
            )
            continue
        if not row.of_constraint:
            made[key] = _statement(graph, row, row.definition)
        if row.parent:
            sql = f"ALTER INDEX {row.parent} ATTACH PARTITION {row.name}"
            then.append(_statement(graph, row, sql))
        table = graph.name("pg_class", row.relation)
        if row.clustered:
            then.append(_statement(graph, row, f"ALTER TABLE {table} CLUSTER ON {row.plain_name}"))
        if row.identifies:
            sql = f"ALTER TABLE ONLY {table} REPLICA IDENTITY USING INDEX {row.plain_name}"
            then.append(_statement(graph, row, sql))
    by_oid = {row.oid: row for row in rows if row.usable}
    for target in catalogs.rows(_STATISTICS_TARGETS, {"oids": list(by_oid)}):
        row = by_oid[target.oid]
        sql = f"ALTER INDEX {row.name} ALTER COLUMN {target.number} SET STATISTICS {target.target}"
        then.append(_statement(graph, row, sql))
    return made, then, left_out


def _statement(graph: Graph, row: Any, sql: str) -> Statement:
    needs = graph.outside(Key("pg_class", row.oid))
    return Statement("index", row.name, sql, after_data=True, needs=needs)
