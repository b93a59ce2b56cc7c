"""Row security policies: who may see and write which rows."""

from __future__ import annotations

import logging
from collections.abc import Set
from typing import Any

from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key

_logger = logging.getLogger(__name__)

# A role of 0 is PUBLIC.
_POLICIES = """
    SELECT p.oid::int8 AS oid, p.polrelid::int8 AS relation, quote_ident(p.polname) AS name,
        p.polpermissive AS permissive, p.polcmd::text AS command,
        ARRAY(SELECT pg_get_userbyid(role) FROM unnest(p.polroles) role WHERE role <> 0 ORDER BY 1)
            ::text[] AS roles,
        ARRAY(SELECT quote_ident(pg_get_userbyid(role)) FROM unnest(p.polroles) role
            WHERE role <> 0 ORDER BY 1)::text[] AS quoted_roles,
        pg_get_expr(p.polqual, p.polrelid) AS visible,
        pg_get_expr(p.polwithcheck, p.polrelid) AS writable,
        quote_literal(obj_description(p.oid, 'pg_policy')) AS comment
    FROM pg_catalog.pg_policy p
    WHERE p.polrelid = ANY (%(oids)s::oid[])
    ORDER BY p.polrelid::regclass::text, p.polname
"""

_COMMANDS = {"*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"}


def role(name: str) -> str:
    """How `Statement.needs` names a role."""
    return f"role {name}"


def policy_statements(catalogs: Catalogs, graph: Graph, not_made: Set[Key]) -> list[Statement]:
    """CREATE POLICY for each, after the rows, with its comment. It needs its roles, and what lies
    outside that its expressions name. One that names a function among `not_made` is left out with
    a warning."""
    statements = []
    for row in catalogs.rows(_POLICIES, {"oids": [key.oid for key in graph.tables]}):
        key = Key("pg_policy", row.oid)
        name = f"{row.name} on {graph.name('pg_class', row.relation)}"
        if not_made and not not_made.isdisjoint(graph.closure([key], stop=graph.tables)):
            _logger.warning("The policy %s was left out: its function could not be made.", name)
            continue
        needs = (*graph.outside(key), *map(role, row.roles))
        on = f"POLICY {row.name} ON {graph.name('pg_class', row.relation)}"
        statements.append(Statement("policy", name, _create(row, on), True, needs))
        if row.comment is not None:
            sql = f"COMMENT ON {on} IS {row.comment}"
            statements.append(Statement("comment", name, sql, True, needs))
    return statements


def _create(row: Any, on: str) -> str:
    sql = (
        f"CREATE {on} AS {'PERMISSIVE' if row.permissive else 'RESTRICTIVE'} "
        f"FOR {_COMMANDS[row.command]} TO {', '.join(row.quoted_roles) or 'PUBLIC'}"
    )
    if row.visible is not None:
        sql += f" USING ({row.visible})"
    if row.writable is not None:
        sql += f" WITH CHECK ({row.writable})"
    return sql
