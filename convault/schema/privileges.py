"""Who may do what: the difference between an object's privileges and those that it begins with.

Owners are not restored: whoever restores owns everything. So what the source's owner has lost is
taken from whoever restores, and what it has by default is not given to anybody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from convault.models import Statement
from convault.schema.catalogs import Catalogs
from convault.schema.graph import Graph, Key
from convault.schema.policies import role

# No privileges (NULL) are those by default. Who granted them is not told: all become the owner's.
_HELD = """
    WITH held AS (
        SELECT 'pg_namespace' AS catalog, n.oid, 0 AS number, NULL::text AS column,
            'n'::"char" AS kind, n.nspowner AS owner, n.nspacl AS acl
        FROM pg_catalog.pg_namespace n WHERE n.oid = ANY (%(pg_namespace)s::oid[])
        UNION ALL
        SELECT 'pg_class', c.oid, 0, NULL, CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char",
            c.relowner, c.relacl
        FROM pg_catalog.pg_class c WHERE c.oid = ANY (%(pg_class)s::oid[])
        UNION ALL
        SELECT 'pg_class', c.oid, a.attnum, quote_ident(a.attname), 'c', c.relowner, a.attacl
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
        WHERE c.oid = ANY (%(pg_class)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT 'pg_proc', p.oid, 0, NULL, 'f', p.proowner, p.proacl
        FROM pg_catalog.pg_proc p WHERE p.oid = ANY (%(pg_proc)s::oid[])
        UNION ALL
        SELECT 'pg_type', t.oid, 0, NULL, 'T', t.typowner, t.typacl
        FROM pg_catalog.pg_type t WHERE t.oid = ANY (%(pg_type)s::oid[])
    )
    SELECT h.catalog, h.oid::int8 AS oid, h.column, x.privilege_type AS privilege,
        x.grantee = h.owner AS of_owner,
        CASE WHEN x.grantee NOT IN (0, h.owner) THEN pg_get_userbyid(x.grantee)::text END AS role,
        CASE WHEN x.grantee NOT IN (0, h.owner) THEN quote_ident(pg_get_userbyid(x.grantee)) END
            AS quoted_role,
        bool_or(x.held) AS held, bool_or(x.by_default) AS by_default,
        bool_or(x.held AND x.is_grantable) AS grantable
    FROM held h
    CROSS JOIN LATERAL (
        SELECT e.*, true AS held, false AS by_default FROM pg_catalog.aclexplode(h.acl) e
        UNION ALL
        SELECT e.*, false, true
        FROM pg_catalog.aclexplode(pg_catalog.acldefault(h.kind, h.owner)) e) x
    WHERE h.acl IS NOT NULL
    GROUP BY h.catalog, h.oid, h.number, h.column, h.owner, x.grantee, x.privilege_type
    ORDER BY h.catalog = 'pg_namespace', h.catalog, h.oid, h.number, of_owner, role, privilege
"""
# `of_owner` before all others would let whoever restores lose what the other statements need; and
# without USAGE on a schema nothing in it can be named, so schemas come last.

_WORDS = {"table": "TABLE", "sequence": "SEQUENCE"}


@dataclass(slots=True)
class _Change:
    """What one grantee has or has lost of one object."""

    key: Key
    to: str
    needs: tuple[str, ...]
    columns: str | None
    granted: list[str] = field(default_factory=list)
    grantable: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)


def privilege_statements(
    catalogs: Catalogs, graph: Graph, made: Collection[Key]
) -> list[Statement]:
    """GRANT and REVOKE for what `made` holds of schemas, tables with their columns, sequences,
    functions and types. They are the last of all statements: whoever restores may lose rights."""
    oids: Mapping[str, list[int]] = {
        catalog: [key.oid for key in made if key.catalog == catalog]
        for catalog in ("pg_namespace", "pg_class", "pg_proc", "pg_type")
    }
    changes: dict[tuple[Any, ...], _Change] = {}
    for row in catalogs.rows(_HELD, oids):
        key = Key(row.catalog, row.oid)
        to = row.quoted_role or ("CURRENT_USER" if row.of_owner else "PUBLIC")
        needs = (*graph.outside(key), *([role(row.role)] if row.role is not None else ()))
        change = changes.setdefault((key, row.column, to), _Change(key, to, needs, row.column))
        if row.by_default and not row.held:
            change.revoked.append(row.privilege)
        elif row.grantable:
            change.grantable.append(row.privilege)
        elif row.held and not row.by_default:
            change.granted.append(row.privilege)
    statements: dict[bool, list[Statement]] = defaultdict(list)
    for change in changes.values():
        statements[change.to == "CURRENT_USER"] += _statements(graph, change)
    return statements[False] + statements[True]


def _statements(graph: Graph, change: _Change) -> list[Statement]:
    thing = graph.things[change.key]
    word = {"pg_namespace": "SCHEMA", "pg_proc": "FUNCTION", "pg_type": "TYPE"}.get(
        thing.key.catalog
    ) or _WORDS[thing.kind]
    column = f" ({change.columns})" if change.columns else ""
    name = f"{thing.name}.{change.columns}" if change.columns else thing.name

    def statement(verb: str, privileges: list[str], towards: str, option: str = "") -> Statement:
        listed = ", ".join(f"{privilege}{column}" for privilege in privileges)
        sql = f"{verb} {listed} ON {word} {thing.name} {towards} {change.to}{option}"
        return Statement("privilege", name, sql, after_data=True, needs=change.needs)

    statements = []
    if change.revoked:
        statements.append(statement("REVOKE", change.revoked, "FROM"))
    if change.granted:
        statements.append(statement("GRANT", change.granted, "TO"))
    if change.grantable:
        statements.append(statement("GRANT", change.grantable, "TO", " WITH GRANT OPTION"))
    return statements
