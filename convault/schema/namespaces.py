"""Schemas and extensions."""

from __future__ import annotations

from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

_EXTENSIONS = """
    SELECT e.oid::int8 AS oid, quote_ident(e.extname) AS name, quote_ident(n.nspname) AS schema
    FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
    WHERE e.oid = ANY (%(oids)s::oid[])
"""


def schema_statements(graph: Graph) -> dict[Key, list[Statement]]:
    """CREATE SCHEMA for each but `public`, which every new database has."""
    keys = [Key("pg_namespace", oid) for oid in graph.oids("pg_namespace")]
    return {
        key: [
            Statement(
                "schema",
                graph.things[key].name,
                f"CREATE SCHEMA IF NOT EXISTS {graph.things[key].name}",
                after_data=False,
            )
        ]
        for key in keys
        if graph.things[key].name != "public"
    }


def extension_statements(catalogs: Catalogs, graph: Graph) -> dict[Key, list[Statement]]:
    """CREATE EXTENSION for each, in the version that the target offers; one that only triggers and
    policies need, where it offers any."""
    things = {
        key.oid: thing for key, thing in graph.things.items() if key.catalog == "pg_extension"
    }
    return {
        Key("pg_extension", row.oid): [
            Statement(
                "extension",
                row.name,
                f"CREATE EXTENSION IF NOT EXISTS {row.name} WITH SCHEMA {row.schema}",
                after_data=False,
                needs=tuple(filter(None, [things[row.oid].outside])),
            )
        ]
        for row in catalogs.rows(_EXTENSIONS, {"oids": list(things)})
    }
