"""Which operator tells that two values are equal, when the search path is empty.

`=` would be looked for in pg_catalog only: it knows no type of an extension, or, worse, compares
citext as text. So the operator that a unique index of the type would use is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

_TYPES = """
    WITH RECURSIVE based (asked, oid) AS (
        SELECT oid, oid FROM pg_catalog.pg_type WHERE oid = ANY (%s)
        UNION ALL
        SELECT b.asked, t.typbasetype FROM based b JOIN pg_catalog.pg_type t ON t.oid = b.oid
        WHERE t.typbasetype <> 0
    )
    SELECT b.asked, t.oid, pg_catalog.quote_ident(n.nspname) || '.'
        || pg_catalog.quote_ident(t.typname), pg_catalog.format_type(b.asked, NULL)
    FROM based b JOIN pg_catalog.pg_type t ON t.oid = b.oid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE t.typtype <> 'd'
"""

_OPERATOR = """
    SELECT pg_catalog.quote_ident(n.nspname) || '.' || o.oprname
    FROM pg_catalog.pg_opclass c
    JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
    JOIN pg_catalog.pg_amop p ON p.amopfamily = c.opcfamily AND p.amopstrategy = 3
        AND p.amoplefttype = %(left)s AND p.amoprighttype = %(right)s
    JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr
    JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    WHERE c.opcdefault AND c.opcintype = %(left)s
"""


@dataclass(frozen=True, slots=True)
class Type:
    """The type that values of a column have, domains set aside."""

    oid: int
    name: str
    """as SQL takes it, without a length: `character` would be one character"""
    shown: str
    """as people know it, the domain's own name"""


def read_types(connection: psycopg.Connection[Any], oids: Iterable[int]) -> Mapping[int, Type]:
    """The types of these oids, which may be domains."""
    rows = connection.execute(_TYPES, (list(oids),)).fetchall()
    return {asked: Type(oid, name, shown) for asked, oid, name, shown in rows}


def equality(connection: psycopg.Connection[Any], left: Type, right: Type) -> str | None:
    """`OPERATOR(schema.=)` for values of the two types, or None when Postgres has none; then the
    transaction has failed."""
    found = connection.execute(
        _OPERATOR, {"left": left.oid, "right": right.oid}
    ).fetchone()  # fmt: skip
    operator = found[0] if found else "pg_catalog.="
    if found is None:
        try:
            connection.execute(
                f"SELECT NULL::{left.name} OPERATOR({operator}) NULL::{right.name}".encode()
            )
        except (psycopg.errors.UndefinedFunction, psycopg.errors.AmbiguousFunction):
            return None
    return f"OPERATOR({operator})"
