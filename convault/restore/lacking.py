"""What a backup leans on and the target does not have: extensions, and Supabase's own functions.

What can be stood in for is, so that the rows come back into any Postgres; each is told with the SQL
that brings the real thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.errors import RestoreError
from convault.formats.postgres_types import quoted
from convault.models import Statement
from convault.restore import target


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that the target does not have."""

    kind: str
    """extension, function, role"""
    name: str
    sql: str
    """that adds it, run by somebody who may"""
    instead: str = ""
    """what stands in for it, in words; empty when nothing does"""


_EXTENSION = re.compile(r'CREATE EXTENSION IF NOT EXISTS (\S+|"[^"]+") WITH SCHEMA (.+)')

_AVAILABLE = """
    SELECT v.name, bool_or(e.oid IS NOT NULL), bool_or(
        (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
        OR NOT v.superuser
        OR v.trusted AND has_database_privilege(current_database(), 'CREATE'))
    FROM pg_catalog.pg_available_extension_versions v
    LEFT JOIN pg_catalog.pg_extension e ON e.extname = v.name
    WHERE v.name = ANY (%s)
    GROUP BY v.name
"""

_AUTH = {
    "auth.uid()": (
        "uuid",
        "SELECT nullif(current_setting('request.jwt.claim.sub', true), '')::uuid",
    ),
    "auth.role()": (
        "text",
        "SELECT nullif(current_setting('request.jwt.claim.role', true), '')::text",
    ),
    "auth.email()": (
        "text",
        "SELECT nullif(current_setting('request.jwt.claim.email', true), '')::text",
    ),
    "auth.jwt()": (
        "jsonb",
        "SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb",
    ),
}
"""Functions that Supabase brings, and what they do in a Postgres without it: they read what
PostgREST sets. Source: Supabase's auth migrations."""


def provided(
    connection: psycopg.Connection[Any], script: Sequence[Statement], *, tolerate: bool = False
) -> tuple[list[Statement], tuple[Lack, ...]]:
    """The script as this target can run it, and what it lacks.

    RestoreError with the SQL to add them when it lacks extensions for which nothing stands in;
    with `tolerate` they are left out, and what needs them is refused where it comes up.
    """
    wanted = {s: found for s in script if (found := _EXTENSION.fullmatch(s.sql))}
    names = {s: _unquoted(found[1]) for s, found in wanted.items()}
    rows = connection.execute(_AVAILABLE, (list(names.values()),)).fetchall()
    state = {name: (there, possible) for name, there, possible in rows}
    lacks: list[Lack] = []
    hard: list[Lack] = []
    made: list[Statement] = []
    schemas: set[str] = set()
    for statement in script:
        if statement not in wanted:
            made.append(statement)
            continue
        name, schema = names[statement], wanted[statement][2]
        there, possible = state.get(name, (False, False))
        if there:
            continue
        if schema not in schemas and _unquoted(schema) != "public":
            sql = f"CREATE SCHEMA IF NOT EXISTS {schema}"
            made.append(Statement("schema", schema, sql, after_data=False))
            schemas.add(schema)
        if possible:
            made.append(statement)
            continue
        stand_in = _stand_in(connection, name, schema)
        lack = Lack(
            "extension",
            name,
            f"CREATE SCHEMA IF NOT EXISTS {schema}; {statement.sql};",
            _INSTEAD.get(name, "") if stand_in else "",
        )
        lacks.append(lack)
        if stand_in:
            made += stand_in
        else:
            hard.append(lack)
    if hard and not tolerate:
        raise RestoreError(
            "The target lacks what the backup needs: "
            + ", ".join(f"the extension {lack.name}" for lack in hard)
            + ". Nothing was changed. Have somebody who may run this there, then try again:\n"
            + "\n".join(lack.sql for lack in hard)
        )
    return made, (*lacks, *_roles_and_functions(connection, script))


def _roles_and_functions(
    connection: psycopg.Connection[Any], script: Iterable[Statement]
) -> Iterable[Lack]:
    for name in sorted({need for statement in script for need in statement.needs}):
        role = name.removeprefix("role ")
        if (role == name and name not in _AUTH) or target.exists(connection, name):
            continue
        if role != name:
            yield Lack("role", role, f"CREATE ROLE {quoted(role)} NOLOGIN;")
            continue
        type_, body = _AUTH[name]
        yield Lack(
            "function",
            name,
            "CREATE SCHEMA IF NOT EXISTS auth; "
            f"CREATE FUNCTION {name} RETURNS {type_} LANGUAGE sql STABLE AS $$ {body} $$;",
        )


_WITHOUT_CASE = "provider = icu, locale = 'und-u-ks-level2', deterministic = false"
_INSTEAD = {
    "uuid-ossp": "uuid_generate_v4() stands in by Postgres' own gen_random_uuid()",
    "pgcrypto": "gen_random_uuid() stands in by Postgres' own",
    "citext": "a domain over text stands in, compared without regard to case if this Postgres has "
    "ICU, and with regard to it if not",
}


def _stand_in(connection: psycopg.Connection[Any], extension: str, schema: str) -> list[Statement]:
    def function(name: str) -> Statement:
        sql = (
            f"CREATE FUNCTION {schema}.{name}() RETURNS uuid LANGUAGE sql VOLATILE"
            " AS 'SELECT pg_catalog.gen_random_uuid()'"
        )
        return Statement("function", f"{schema}.{name}()", sql, after_data=False)

    if extension == "uuid-ossp":
        return [function("uuid_generate_v4")]
    if extension == "pgcrypto":
        return [function("gen_random_uuid")]
    if extension != "citext":
        return []
    domain = f"CREATE DOMAIN {schema}.citext AS pg_catalog.text"
    if not _has_icu(connection):
        return [Statement("type", f"{schema}.citext", domain, after_data=False)]
    collation = f"{schema}.citext_without_case"
    return [
        Statement(
            "collation", collation,
            f"CREATE COLLATION {collation} ({_WITHOUT_CASE})", after_data=False,
        ),
        Statement("type", f"{schema}.citext", f"{domain} COLLATE {collation}", after_data=False),
    ]  # fmt: skip


def _has_icu(connection: psycopg.Connection[Any]) -> bool:
    """Whether this Postgres was built with ICU, without which no text is compared without case."""
    connection.execute("SAVEPOINT convault_icu")
    try:
        connection.execute(f"CREATE COLLATION pg_temp.convault_icu ({_WITHOUT_CASE})".encode())
        return True
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.InsufficientPrivilege):
        return False
    finally:
        connection.execute("ROLLBACK TO SAVEPOINT convault_icu")
        connection.execute("RELEASE SAVEPOINT convault_icu")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
