"""Extensions that a backup needs and a scratch database does not have.

The wheel's Postgres brings next to none, and most applications use one or two. For the commonest
there are the stand-ins of a restore (`convault.restore.extensions`), good enough to hold the rows
and to prove that they are the same; what the real ones do with them is listed as not verified. What
leans on any other is left out, and listed, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.drill.report import Check, not_verified
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest
from convault.models import Statement, TableName
from convault.restore.extensions import Extension, is_type, needed_extensions, stand_in
from convault.schema import RESTORE_SETTINGS
from convault.sources.failures import reason, sqlstate

_LEANS_ON_WHAT_IS_MISSING = frozenset(
    {"42704", "42883", "42P01", "42703", "3F000", "42601", "0A000", "58P01"}
)
"""SQLSTATEs of a statement that names something that is not there: object, function, table, column,
schema; a modifier that a domain does not take; a feature or a file that is not there."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """A backup as the scratch database can take it."""

    manifest: Manifest
    checks: tuple[Check, ...] = ()
    """what is not verified therefore"""
    left_out: frozenset[TableName] = frozenset()
    """tables that could not be made"""
    stand_ins: frozenset[str] = frozenset()
    """types that stand-ins were put in the place of, as columns have them"""


def adapt(connection: psycopg.Connection[Any], manifest: Manifest) -> Adapted:
    """Put stand-ins in the place of extensions that are missing, and leave out what cannot be made
    without the others. The database is left as it was."""
    usable = _usable(connection)
    missing = [e for e in needed_extensions(manifest.statements) if e.name not in usable]
    if not missing:
        return Adapted(manifest)
    checks = []
    instead: dict[str, list[Statement]] = {}
    for extension in missing:
        with connection.transaction(force_rollback=True):
            found = stand_in(connection, extension)
        instead[extension.statement.sql] = [] if found is None else list(found.statements)
        why = (
            "it is not installed here: what leans on it was left out"
            if found is None
            else f"it is not installed here; a stand-in holds the values: {found.instead}"
        )
        checks.append(not_verified("extension", extension.name, why))
    statements = [s for one in manifest.statements for s in instead.get(one.sql, [one])]
    refused, tables = _tried(connection, statements, [table.name for table in manifest.restored])
    checks += [not_verified(s.kind, s.name, f"left out: {why}") for s, why in refused]
    kept = {id(s) for s in statements} - {id(s) for s, _ in refused}
    adapted = manifest.model_copy(
        update={
            "statements": tuple(s for s in statements if id(s) in kept),
            "tables": tuple(t for t in manifest.restored if t.name in tables),
        }
    )
    left_out = {table.name for table in manifest.restored} - tables
    return Adapted(adapted, tuple(checks), frozenset(left_out), _types(missing))


def _types(missing: Iterable[Extension]) -> frozenset[str]:
    """As format_type spells them, which quotes a schema only where it must."""
    return frozenset(
        f"{schema}.{extension.name}"
        for extension in missing
        if is_type(extension.name)
        for schema in (extension.schema, quoted(extension.schema))
    )


def _usable(connection: psycopg.Connection[Any]) -> set[str]:
    """Extensions that are there, or that this role may make."""
    rows = connection.execute(
        "SELECT extname FROM pg_catalog.pg_extension UNION SELECT v.name"
        " FROM pg_catalog.pg_available_extension_versions v"
        " JOIN pg_catalog.pg_roles r ON r.rolname = current_user"
        " WHERE v.trusted OR NOT v.superuser OR r.rolsuper"
    )
    return {name for (name,) in rows}


def _tried(
    connection: psycopg.Connection[Any], statements: list[Statement], tables: list[TableName]
) -> tuple[list[tuple[Statement, str]], set[TableName]]:
    """Statements that lean on something that is missing, and why; and the tables that could be
    made. All of it is undone."""
    refused: list[tuple[Statement, str]] = []
    with connection.transaction(force_rollback=True):
        for name, value in RESTORE_SETTINGS.items():
            connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
        for statement in statements:
            if statement.needs:
                continue  # the restore itself sees to those
            try:
                with connection.transaction():
                    connection.execute(statement.sql.encode(), binary=True)
            except psycopg.Error as error:
                if sqlstate(error) in _LEANS_ON_WHAT_IS_MISSING:
                    refused.append((statement, reason(error)))
        made = {
            table
            for table in tables
            if connection.execute(
                "SELECT pg_catalog.to_regclass(%s) IS NOT NULL", (table.quoted,)
            ).fetchone()
            == (True,)
        }
    return refused, made
