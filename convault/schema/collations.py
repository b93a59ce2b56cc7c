"""Collations that the application made."""

from __future__ import annotations

from typing import Any

from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

_PROVIDERS = {"b": "builtin", "c": "libc", "i": "icu"}


def collation_statements(catalogs: Catalogs, graph: Graph) -> dict[Key, list[Statement]]:
    """CREATE COLLATION for each."""
    statements = {}
    for row in catalogs.rows(_query(catalogs.version), {"oids": graph.oids("pg_collation")}):
        key = Key("pg_collation", row.oid)
        name = graph.things[key].name
        options = [f"provider = {_PROVIDERS[row.provider]}"]
        options += [f"{option} = {value}" for option, value in _values(row).items() if value]
        sql = f"CREATE COLLATION {name} ({', '.join(options)})"
        statements[key] = [Statement("collation", name, sql, after_data=False)]
    return statements


def _query(version: int) -> str:
    if version >= 17:
        locale = "c.colllocale"
    elif version >= 15:
        locale = "c.colliculocale"
    else:
        locale = "CASE WHEN c.collprovider = 'i' THEN c.collcollate END"
    rules = "c.collicurules" if version >= 16 else "NULL"
    return f"""
        SELECT c.oid::int8 AS oid, c.collprovider::text AS provider,
            c.collisdeterministic AS deterministic,
            CASE WHEN c.collprovider = 'c' THEN quote_literal(c.collcollate) END AS lc_collate,
            CASE WHEN c.collprovider = 'c' THEN quote_literal(c.collctype) END AS lc_ctype,
            quote_literal({locale}) AS locale, quote_literal({rules}) AS rules
        FROM pg_catalog.pg_collation c WHERE c.oid = ANY (%(oids)s::oid[])
    """


def _values(row: Any) -> dict[str, str | None]:
    return {
        "lc_collate": row.lc_collate,
        "lc_ctype": row.lc_ctype,
        "locale": row.locale,
        "rules": row.rules,
        "deterministic": None if row.deterministic else "false",
    }
