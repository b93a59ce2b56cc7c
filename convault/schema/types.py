"""Types that columns reach: enums, domains, composite types, ranges."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from convault.errors import UnsupportedSource
from convault.models import Statement
from convault.schema.catalogs import Catalogs, qualified
from convault.schema.graph import Graph, Key

_ENUMS = """
    SELECT t.oid::int8 AS oid,
        string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) AS labels
    FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_enum e ON e.enumtypid = t.oid
    WHERE t.oid = ANY (%(oids)s::oid[]) AND t.typtype = 'e'
    GROUP BY t.oid
"""

_COMPOSITES = """
    SELECT t.oid::int8 AS oid, string_agg(
        quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attcollation <> 0 AND a.attcollation <> at.typcollation
            THEN ' COLLATE ' || a.attcollation::regcollation::text ELSE '' END,
        ', ' ORDER BY a.attnum) AS attributes
    FROM pg_catalog.pg_type t
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
        AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_type at ON at.oid = a.atttypid
    WHERE t.oid = ANY (%(oids)s::oid[]) AND t.typtype = 'c'
    GROUP BY t.oid
"""

_RANGES = f"""
    SELECT t.oid::int8 AS oid, r.rngsubtype::regtype::text AS subtype,
        {qualified("mn.nspname", "m.typname")} AS multirange,
        CASE WHEN NOT o.opcdefault THEN {qualified("n.nspname", "o.opcname")} END AS opclass,
        CASE WHEN r.rngcollation <> s.typcollation
            THEN r.rngcollation::regcollation::text END AS collation,
        CASE WHEN r.rngsubdiff::oid <> 0 THEN r.rngsubdiff::text END AS difference,
        r.rngcanonical::oid <> 0 AS canonical
    FROM pg_catalog.pg_type t
    JOIN pg_catalog.pg_range r ON r.rngtypid = t.oid
    JOIN pg_catalog.pg_type s ON s.oid = r.rngsubtype
    JOIN pg_catalog.pg_type m ON m.oid = r.rngmultitypid
    JOIN pg_catalog.pg_namespace mn ON mn.oid = m.typnamespace
    JOIN pg_catalog.pg_opclass o ON o.oid = r.rngsubopc
    JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace
    WHERE t.oid = ANY (%(oids)s::oid[])
"""

_DOMAINS = """
    SELECT t.oid::int8 AS oid, format_type(t.typbasetype, t.typtypmod) AS base,
        CASE WHEN t.typcollation <> b.typcollation
            THEN t.typcollation::regcollation::text END AS collation,
        coalesce(pg_get_expr(t.typdefaultbin, 'pg_type'::regclass), quote_literal(t.typdefault))
            AS expression,
        t.typnotnull, quote_ident(n.conname) AS not_null_name
    FROM pg_catalog.pg_type t
    JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
    LEFT JOIN pg_catalog.pg_constraint n ON n.contypid = t.oid AND n.contype = 'n'
    WHERE t.oid = ANY (%(oids)s::oid[]) AND t.typtype = 'd'
"""

_DOMAIN_CHECKS = """
    SELECT c.oid::int8 AS oid, c.contypid::int8 AS domain, quote_ident(c.conname) AS name,
        pg_get_constraintdef(c.oid) AS definition, c.convalidated AS validated
    FROM pg_catalog.pg_constraint c
    WHERE c.contypid = ANY (%(oids)s::oid[]) AND c.contype = 'c'
    ORDER BY c.conname
"""


def read_domain_checks(catalogs: Catalogs, graph: Graph) -> list[Any]:
    """The check constraints of domains."""
    return catalogs.rows(_DOMAIN_CHECKS, {"oids": graph.oids("pg_type")})


def late_domain_checks(graph: Graph, checks: Collection[Any]) -> set[Key]:
    """Those to be added after the rows: old rows may break them (NOT VALID), or they read a table
    of the dataset."""
    keys = {Key("pg_constraint", check.oid): check for check in checks}
    return {
        key
        for key, check in keys.items()
        if not check.validated or not graph.tables.isdisjoint(graph.closure([key]))
    }


def type_statements(
    catalogs: Catalogs, graph: Graph, checks: Collection[Any], apart: Collection[Key]
) -> dict[Key, list[Statement]]:
    """CREATE TYPE and CREATE DOMAIN for each; `checks` but for those in `apart` are in them."""
    oids = {"oids": graph.oids("pg_type")}
    texts = {row.oid: f"AS ENUM ({row.labels or ''})" for row in catalogs.rows(_ENUMS, oids)}
    texts |= {row.oid: f"AS ({row.attributes or ''})" for row in catalogs.rows(_COMPOSITES, oids)}
    for row in catalogs.rows(_RANGES, oids):
        texts[row.oid] = _range(row, graph.name("pg_type", row.oid))
    made = {oid: _statement(graph, oid, "CREATE TYPE", text) for oid, text in texts.items()}
    for row in catalogs.rows(_DOMAINS, oids):
        own = [
            c for c in checks if c.domain == row.oid and Key("pg_constraint", c.oid) not in apart
        ]
        made[row.oid] = _statement(graph, row.oid, "CREATE DOMAIN", f"AS {_domain(row, own)}")
    return {Key("pg_type", oid): [statement] for oid, statement in made.items()}


def domain_check_statements(
    graph: Graph, checks: Collection[Any], apart: Collection[Key]
) -> dict[Key, list[Statement]]:
    """ADD CONSTRAINT for the checks in `apart`, those that need not be late as soon as their
    functions are there: Postgres adds no check to a domain that a column holds within an array or
    a composite type."""
    late = late_domain_checks(graph, checks)
    made = {}
    for check in checks:
        key = Key("pg_constraint", check.oid)
        if key in apart:
            sql = (
                f"ALTER DOMAIN {graph.name('pg_type', check.domain)} "
                f"ADD CONSTRAINT {check.name} {check.definition}"
            )
            name, needs = graph.things[key].name, graph.outside(key)
            made[key] = [Statement("type", name, sql, after_data=key in late, needs=needs)]
    return made


def _statement(graph: Graph, oid: int, create: str, text: str) -> Statement:
    name = graph.name("pg_type", oid)
    # A table with such a column is refused; a function that takes it is left out with it.
    needs = graph.outside(Key("pg_type", oid))
    return Statement("type", name, f"{create} {name} {text}", after_data=False, needs=needs)


def _range(row: Any, name: str) -> str:
    if row.canonical:
        raise UnsupportedSource(
            f"The range type {name} has a canonical function, which a restore cannot make: only an "
            "extension can bring it. Nothing was backed up.",
            object=name,
        )
    options = {
        "subtype": row.subtype,
        "multirange_type_name": row.multirange,
        "subtype_opclass": row.opclass,
        "collation": row.collation,
        "subtype_diff": row.difference,
    }
    given = ", ".join(f"{option} = {value}" for option, value in options.items() if value)
    return f"AS RANGE ({given})"


def _domain(row: Any, checks: list[Any]) -> str:
    parts = [row.base]
    if row.collation:
        parts.append(f"COLLATE {row.collation}")
    if row.expression is not None:
        parts.append(f"DEFAULT {row.expression}")
    if row.typnotnull:
        parts.append(
            f"CONSTRAINT {row.not_null_name} NOT NULL" if row.not_null_name else "NOT NULL"
        )
    parts += [f"CONSTRAINT {check.name} {check.definition}" for check in checks]
    return " ".join(parts)
