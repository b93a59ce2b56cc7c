"""Text search configurations and dictionaries, such as one for Portuguese without accents."""

from __future__ import annotations

from collections import defaultdict

from convault.models import Statement
from convault.schema.catalogs import Catalogs, qualified
from convault.schema.graph import Graph, Key

_DICTIONARIES = f"""
    SELECT d.oid::int8 AS oid, {qualified("n.nspname", "t.tmplname")} AS template,
        d.dictinitoption AS options
    FROM pg_catalog.pg_ts_dict d
    JOIN pg_catalog.pg_ts_template t ON t.oid = d.dicttemplate
    JOIN pg_catalog.pg_namespace n ON n.oid = t.tmplnamespace
    WHERE d.oid = ANY (%(oids)s::oid[])
"""

_CONFIGURATIONS = f"""
    SELECT c.oid::int8 AS oid, {qualified("n.nspname", "p.prsname")} AS parser
    FROM pg_catalog.pg_ts_config c
    JOIN pg_catalog.pg_ts_parser p ON p.oid = c.cfgparser
    JOIN pg_catalog.pg_namespace n ON n.oid = p.prsnamespace
    WHERE c.oid = ANY (%(oids)s::oid[])
"""

_MAPPINGS = """
    SELECT c.oid::int8 AS oid, quote_ident(k.alias) AS token,
        string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno) AS dictionaries
    FROM pg_catalog.pg_ts_config c
    CROSS JOIN LATERAL pg_catalog.ts_token_type(c.cfgparser) k
    JOIN pg_catalog.pg_ts_config_map m ON m.mapcfg = c.oid AND m.maptokentype = k.tokid
    WHERE c.oid = ANY (%(oids)s::oid[])
    GROUP BY c.oid, k.alias, k.tokid ORDER BY c.oid, k.tokid
"""


def text_search_statements(catalogs: Catalogs, graph: Graph) -> dict[Key, list[Statement]]:
    """What makes each dictionary and each configuration with its mappings."""
    sql: dict[Key, list[str]] = defaultdict(list)
    for row in catalogs.rows(_DICTIONARIES, {"oids": graph.oids("pg_ts_dict")}):
        key = Key("pg_ts_dict", row.oid)
        options = f", {row.options}" if row.options else ""
        sql[key].append(
            f"CREATE TEXT SEARCH DICTIONARY {graph.things[key].name} "
            f"(TEMPLATE = {row.template}{options})"
        )
    configurations = {"oids": graph.oids("pg_ts_config")}
    for row in catalogs.rows(_CONFIGURATIONS, configurations):
        key = Key("pg_ts_config", row.oid)
        name = graph.things[key].name
        sql[key].append(f"CREATE TEXT SEARCH CONFIGURATION {name} (PARSER = {row.parser})")
    for row in catalogs.rows(_MAPPINGS, configurations):
        key = Key("pg_ts_config", row.oid)
        sql[key].append(
            f"ALTER TEXT SEARCH CONFIGURATION {graph.things[key].name} "
            f"ADD MAPPING FOR {row.token} WITH {row.dictionaries}"
        )
    return {
        key: [
            Statement("text search", graph.things[key].name, one, False, graph.outside(key))
            for one in texts
        ]
        for key, texts in sql.items()
    }
