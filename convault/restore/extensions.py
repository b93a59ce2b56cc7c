"""The extensions that a backup leans on, and what can stand in for them in a Postgres without.

Stand-ins are good enough to hold the rows and to make the columns' defaults; what the real ones do
besides is told as lacking by a restore, and as not verified by a drill.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from convault.formats.postgres_types import quoted
from convault.models import Statement

WITHOUT_CASE = "provider = icu, locale = 'und-u-ks-level2', deterministic = false"
"""a collation of text that ignores case, but not accents, as citext does"""

_CREATE = re.compile(
    r'CREATE EXTENSION (?:IF NOT EXISTS )?([\w$-]+|"(?:[^"]|"")+") WITH SCHEMA (.+)', re.DOTALL
)
_DOMAIN = ("CREATE DOMAIN {schema}.{name} AS pg_catalog.text",)
_UUID = "CREATE FUNCTION {{schema}}.{name}() RETURNS pg_catalog.uuid LANGUAGE sql AS {body}"
_NEW_UUID = "'SELECT pg_catalog.gen_random_uuid()'"
_STAND_INS: dict[str, tuple[str, ...]] = {
    "citext": _DOMAIN,
    "hstore": _DOMAIN,
    "ltree": _DOMAIN,
    "uuid-ossp": tuple(
        _UUID.format(name=name, body=_NEW_UUID)
        for name in ("uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4")
    ),
    "pgcrypto": (
        _UUID.format(name="gen_random_uuid", body=_NEW_UUID),
        "CREATE FUNCTION {schema}.gen_random_bytes(pg_catalog.int4) RETURNS pg_catalog.bytea"
        " LANGUAGE sql AS 'SELECT pg_catalog.substring(pg_catalog.decode(pg_catalog.repeat("
        "pg_catalog.replace(pg_catalog.gen_random_uuid()::pg_catalog.text, ''-'', ''''),"
        " $1 / 16 + 1), ''hex''), 1, $1)'",
    ),
}
"""by extension: types as domains over their text, functions that defaults call"""
_INSTEAD = {
    "uuid-ossp": "uuid_generate_v1(), _v1mc() and _v4() stand in by Postgres' own "
    "gen_random_uuid()",
    "pgcrypto": "gen_random_uuid() and gen_random_bytes() stand in by Postgres' own randomness",
    "hstore": "a domain over text stands in: it holds the values, and no operator of hstore",
    "ltree": "a domain over text stands in: it holds the values, and no operator of ltree",
}
_CITEXT = "a domain over text stands in, compared without regard to case by an ICU collation"
_CITEXT_WITH_CASE = (
    "a domain over text stands in, which DOES REGARD CASE, as this Postgres has no ICU: Ana@x and "
    "ana@x are two, for = as well as for UNIQUE"
)


@dataclass(frozen=True, slots=True)
class Extension:
    """As a backup needs it."""

    name: str
    schema: str
    statement: Statement


@dataclass(frozen=True, slots=True)
class StandIn:
    """What does instead of an extension."""

    statements: tuple[Statement, ...]
    instead: str
    """in words"""


def needed_extensions(statements: Iterable[Statement]) -> list[Extension]:
    """Those that the statements make."""
    found = []
    for statement in statements:
        create = _CREATE.fullmatch(statement.sql)
        if create is not None and statement.kind == "extension":
            found.append(Extension(_unquoted(create[1]), _unquoted(create[2]), statement))
    return found


def is_type(extension: str) -> bool:
    """Whether what stands in for it is a type of its name."""
    return _STAND_INS.get(extension) is _DOMAIN


def stand_in(connection: psycopg.Connection[Any], extension: Extension) -> StandIn | None:
    """What can stand in for it in that database; None when nothing can. The connection has to be in
    a transaction."""
    templates = _STAND_INS.get(extension.name)
    if templates is None:
        return None
    schema = quoted(extension.schema)
    made = [template.format(schema=schema, name=quoted(extension.name)) for template in templates]
    instead = _INSTEAD.get(extension.name, _CITEXT)
    if extension.name == "citext":
        if _has_icu(connection):
            collation = f"{schema}.citext_without_case"
            made = [
                f"CREATE COLLATION {collation} ({WITHOUT_CASE})",
                f"{made[0]} COLLATE {collation}",
            ]
        else:
            instead = _CITEXT_WITH_CASE
    statements = tuple(_statement(sql) for sql in made)
    return StandIn(statements, instead)


def _statement(sql: str) -> Statement:
    found = re.match(r"CREATE (DOMAIN|FUNCTION|COLLATION) (\S+?\(?\)?)(?= |\()", sql)
    assert found is not None  # the templates above
    kind = {"DOMAIN": "type", "FUNCTION": "function", "COLLATION": "collation"}[found[1]]
    return Statement(kind, found[2], sql, after_data=False)


def _has_icu(connection: psycopg.Connection[Any]) -> bool:
    """Whether this Postgres was built with ICU, without which no text is compared without case."""
    connection.execute("SAVEPOINT convault_icu")
    try:
        connection.execute(f"CREATE COLLATION pg_temp.convault_icu ({WITHOUT_CASE})".encode())
        return True
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.InsufficientPrivilege):
        return False
    finally:
        connection.execute("ROLLBACK TO SAVEPOINT convault_icu")
        connection.execute("RELEASE SAVEPOINT convault_icu")


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
