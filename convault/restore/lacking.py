"""What a backup leans on and the target does not have: extensions, and Supabase's own functions.

What can be stood in for is, so that the rows come back into any Postgres; each is told with the SQL
that brings the real thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.errors import RestoreError
from convault.formats.postgres_types import quoted
from convault.models import Statement
from convault.restore import target
from convault.restore.extensions import needed_extensions, stand_in


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
    wanted = {id(found.statement): found for found in needed_extensions(script)}
    names = [extension.name for extension in wanted.values()]
    state = {
        name: (there, possible)
        for name, there, possible in connection.execute(_AVAILABLE, (names,)).fetchall()
    }
    lacks: list[Lack] = []
    hard: list[Lack] = []
    made: list[Statement] = []
    schemas: set[str] = set()
    for statement in script:
        extension = wanted.get(id(statement))
        if extension is None:
            made.append(statement)
            continue
        there, possible = state.get(extension.name, (False, False))
        if there:
            continue
        schema = quoted(extension.schema)
        if extension.schema not in {*schemas, "public"}:
            sql = f"CREATE SCHEMA IF NOT EXISTS {schema}"
            made.append(Statement("schema", schema, sql, after_data=False))
            schemas.add(extension.schema)
        if possible:
            made.append(statement)
            continue
        instead = stand_in(connection, extension)
        sql = f"CREATE SCHEMA IF NOT EXISTS {schema}; {statement.sql};"
        lacks.append(Lack("extension", extension.name, sql, instead.instead if instead else ""))
        if instead is None:
            hard.append(lacks[-1])
        else:
            made += instead.statements
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
