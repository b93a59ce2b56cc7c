"""Extensions that a backup needs and a scratch database does not have.

The wheel's Postgres brings next to none, and most applications use one or two. For the commonest
there are stand-ins, good enough to hold the rows and to prove that they are the same; what the real
ones do with them is listed as not verified. What leans on any other is left out, and listed, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.drill.report import Check, not_verified
from convault.formats.postgres_types import quoted
from convault.manifest import Manifest
from convault.models import Statement, TableName
from convault.schema import RESTORE_SETTINGS
from convault.sources.failures import reason, sqlstate

_TEXT = ("CREATE DOMAIN {schema}.{name} AS pg_catalog.text",)
_UUID = "CREATE FUNCTION {{schema}}.{name}() RETURNS pg_catalog.uuid LANGUAGE sql AS {body}"
_NEW_UUID = "'SELECT pg_catalog.gen_random_uuid()'"
_STAND_INS: dict[str, tuple[str, ...]] = {
    "citext": _TEXT,
    "hstore": _TEXT,
    "ltree": _TEXT,
    "uuid-ossp": tuple(
        _UUID.format(name=name, body=_NEW_UUID)
        for name in ("uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4")
    ),
    "pgcrypto": (
        _UUID.format(name="gen_random_uuid", body=_NEW_UUID),
        "CREATE FUNCTION {schema}.gen_random_bytes(pg_catalog.int4) RETURNS pg_catalog.bytea"
        " LANGUAGE sql AS 'SELECT pg_catalog.substring(pg_catalog.decode(pg_catalog.repeat("
        "pg_catalog.md5(pg_catalog.random()::pg_catalog.text), $1 / 16 + 1), ''hex''), 1, $1)'",
    ),
}
"""by extension: types as domains over their text, functions that defaults call"""

_CREATE = re.compile(r"CREATE EXTENSION IF NOT EXISTS (.+) WITH SCHEMA (.+)", re.DOTALL)

_LEANS_ON_WHAT_IS_MISSING = frozenset(
    {"42704", "42883", "42P01", "42703", "3F000", "42601", "0A000", "58P01"}
)
"""SQLSTATEs of a statement that names something that is not there: object, function, table, column,
schema; a modifier that a domain does not take; a feature or a file that is not there."""


@dataclass(frozen=True, slots=True)
class Extension:
    """As a backup needs it."""

    name: str
    schema: str
    statement: Statement


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


def needed_extensions(manifest: Manifest) -> list[Extension]:
    """Those that the statements of the backup make."""
    found = []
    for statement in manifest.statements:
        create = _CREATE.fullmatch(statement.sql)
        if create is not None and statement.kind == "extension":
            found.append(Extension(_unquoted(create[1]), _unquoted(create[2]), statement))
    return found


def adapt(connection: psycopg.Connection[Any], manifest: Manifest) -> Adapted:
    """Put stand-ins in the place of extensions that are missing, and leave out what cannot be made
    without the others. The database is left as it was."""
    usable = _usable(connection)
    missing = [e for e in needed_extensions(manifest) if e.name not in usable]
    if not missing:
        return Adapted(manifest)
    checks = []
    instead: dict[str, list[Statement]] = {}
    for extension in missing:
        stand_ins = _STAND_INS.get(extension.name, ())
        instead[extension.statement.sql] = [
            Statement("extension", extension.name, sql, after_data=False)
            for sql in _filled(stand_ins, extension)
        ]
        why = "it is not installed here; a stand-in holds the values" if stand_ins else "it is not"
        why += "" if stand_ins else " installed here: what leans on it was left out"
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
        if _STAND_INS.get(extension.name) is _TEXT
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


def _filled(templates: Iterable[str], extension: Extension) -> list[str]:
    names = {"schema": quoted(extension.schema), "name": quoted(extension.name)}
    return [template.format(**names) for template in templates]


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


def _unquoted(identifier: str) -> str:
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier
