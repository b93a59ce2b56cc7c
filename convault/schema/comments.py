"""Comments on everything that the other files make."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

_OF_THINGS = """
    SELECT n.catalog, n.oid::int8 AS oid, quote_ident(a.attname) AS column,
        quote_literal(d.description) AS text
    FROM unnest(%(catalogs)s::text[], %(oids)s::oid[]) AS n(catalog, oid)
    LEFT JOIN pg_catalog.pg_type t ON n.catalog = 'pg_type' AND t.oid = n.oid
    JOIN pg_catalog.pg_description d ON d.classoid = n.catalog::regclass AND d.objoid = n.oid
        OR d.classoid = 'pg_class'::regclass AND d.objoid = t.typrelid AND d.objsubid > 0
    LEFT JOIN pg_catalog.pg_attribute a ON d.objsubid > 0 AND d.classoid = 'pg_class'::regclass
        AND a.attrelid = d.objoid AND a.attnum = d.objsubid
    ORDER BY n.catalog, n.oid, d.objsubid
"""

# A partition's foreign key and an heir's not-null constraint come from above, under a name that
# Postgres chooses.
_OF_CONSTRAINTS = """
    SELECT c.oid::int8 AS oid, c.conrelid::int8 AS relation, c.contypid::int8 AS domain,
        quote_ident(c.conname) AS name, quote_literal(d.description) AS text
    FROM pg_catalog.pg_constraint c
    JOIN pg_catalog.pg_description d ON d.classoid = 'pg_constraint'::regclass
        AND d.objoid = c.oid
    LEFT JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
    WHERE (c.conrelid = ANY (%(tables)s::oid[]) OR c.contypid = ANY (%(types)s::oid[]))
        AND c.contype <> 't' AND NOT (c.contype = 'f' AND c.conparentid <> 0)
        AND NOT (c.contype = 'n' AND NOT c.conislocal AND NOT coalesce(r.relispartition, false))
    ORDER BY c.conrelid, c.contypid, c.conname
"""

_WORDS = {
    "pg_class": {"table": "TABLE", "index": "INDEX", "sequence": "SEQUENCE"},
    "pg_collation": {"collation": "COLLATION"},
    "pg_namespace": {"schema": "SCHEMA"},
    "pg_proc": {"function": "FUNCTION"},
    "pg_statistic_ext": {"statistics object": "STATISTICS"},
    "pg_ts_config": {"text search configuration": "TEXT SEARCH CONFIGURATION"},
    "pg_ts_dict": {"text search dictionary": "TEXT SEARCH DICTIONARY"},
    "pg_type": {"type": "TYPE"},
}
"""what pg_identify_object calls things, and what COMMENT ON does"""


def comment_statements(
    catalogs: Catalogs,
    graph: Graph,
    left_out: Collection[Key],
    foreign_keys: Mapping[Key, Statement],
) -> list[Statement]:
    """COMMENT ON for each comment; `left_out` are things that no statement makes."""
    keys = [
        key
        for key, thing in graph.things.items()
        if key.catalog in _WORDS
        and thing.outside is None
        and key not in left_out
        and thing.name != "public"
    ]
    statements = []
    arrays = {"catalogs": [k.catalog for k in keys], "oids": [k.oid for k in keys]}
    for row in catalogs.rows(_OF_THINGS, arrays):
        thing = graph.things[Key(row.catalog, row.oid)]
        word, name = _WORDS[row.catalog][thing.kind], thing.name
        if row.column:
            word, name = "COLUMN", f"{name}.{row.column}"
        statements.append(_comment(f"{word} {name}", name, row.text, graph.outside(thing.key)))
    own = {
        "tables": [key.oid for key in graph.tables],
        "types": graph.oids("pg_type"),
    }
    for row in catalogs.rows(_OF_CONSTRAINTS, own):
        key = Key("pg_constraint", row.oid)
        table = graph.name("pg_class", row.relation) if row.relation else None
        owner = table or f"DOMAIN {graph.name('pg_type', row.domain)}"
        needs = foreign_keys[key].needs if key in foreign_keys else graph.outside(key)
        name = f"{row.name} on {table or graph.name('pg_type', row.domain)}"
        statements.append(_comment(f"CONSTRAINT {row.name} ON {owner}", name, row.text, needs))
    return statements


def _comment(what: str, name: str, text: str, needs: tuple[str, ...]) -> Statement:
    return Statement("comment", name, f"COMMENT ON {what} IS {text}", after_data=True, needs=needs)
