"""Functions that defaults, checks, generated columns, indexes and types need."""

from __future__ import annotations

from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

_FUNCTIONS = """
    SELECT p.oid::int8 AS oid, pg_get_functiondef(p.oid) AS definition
    FROM pg_catalog.pg_proc p WHERE p.oid = ANY (%(oids)s::oid[])
"""


def function_statements(catalogs: Catalogs, graph: Graph) -> dict[Key, list[Statement]]:
    """CREATE FUNCTION for each. A body that is a string is not checked when it is made
    (`check_function_bodies = off`): it may name what is made later."""
    statements: dict[Key, list[Statement]] = {}
    for row in catalogs.rows(_FUNCTIONS, {"oids": graph.oids("pg_proc")}):
        key = Key("pg_proc", row.oid)
        # Postgres writes CREATE OR REPLACE; a restore must not replace what it finds.
        sql = row.definition.replace("CREATE OR REPLACE ", "CREATE ", 1).rstrip()
        name, needs = graph.things[key].name, graph.outside(key)
        statements[key] = [Statement("function", name, sql, after_data=False, needs=needs)]
    return statements
