"""Extended statistics (CREATE STATISTICS)."""

from __future__ import annotations

from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

# Before 17 the target "default" is -1, since then NULL.
_STATISTICS = """
    SELECT s.oid::int8 AS oid, pg_get_statisticsobjdef(s.oid) AS definition,
        coalesce(s.stxstattarget, -1) AS target
    FROM pg_catalog.pg_statistic_ext s WHERE s.oid = ANY (%(oids)s::oid[])
    ORDER BY s.stxname
"""


def statistics_statements(catalogs: Catalogs, graph: Graph) -> list[Statement]:
    """CREATE STATISTICS for each, after the rows."""
    statements = []
    for row in catalogs.rows(_STATISTICS, {"oids": graph.oids("pg_statistic_ext")}):
        key = Key("pg_statistic_ext", row.oid)
        name, needs = graph.things[key].name, graph.outside(key)
        statements.append(Statement("statistics", name, row.definition, True, needs))
        if row.target >= 0:
            sql = f"ALTER STATISTICS {name} SET STATISTICS {row.target}"
            statements.append(Statement("statistics", name, sql, True, needs))
    return statements
