"""A scratch database of the operator's own, used for one drill at a time and left empty again.

While a drill is in it, the database's comment says so, with the names of the tables that the drill
makes. A drill that was killed leaves them there; the next one finds the comment, sees that every
table is named in it, and clears up first. Any other table is a reason to refuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from convault.catalog.locks import key_of
from convault.dataset.tables import is_managed
from convault.drill.scratch import Scratch
from convault.errors import BusyError, ConfigurationError
from convault.manifest import Manifest
from convault.restore import target
from convault.restore.powers import powers_of
from convault.sources import session
from convault.sources.failures import translated

_DATABASE = """
    SELECT pg_catalog.pg_has_role(current_user, d.datdba, 'MEMBER'),
        d.datname::text, pg_catalog.shobj_description(d.oid, 'pg_database')
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
"""
_TABLES = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e'
            AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid)
"""
_MADE = """
    WITH found AS (
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS catalog, oid, relnamespace AS schema
        FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, t.typnamespace
        FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
        WHERE coalesce(c.relkind, 'c') = 'c' AND t.typtype <> 'm'
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid)
        UNION ALL
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, pronamespace FROM pg_catalog.pg_proc
        UNION ALL
        SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, oid, collnamespace
        FROM pg_catalog.pg_collation
        UNION ALL
        SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgnamespace
        FROM pg_catalog.pg_ts_config
        UNION ALL
        SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, oid, dictnamespace
        FROM pg_catalog.pg_ts_dict
    )
    SELECT i.type, i.identity FROM found f
    JOIN pg_catalog.pg_namespace n ON n.oid = f.schema
    CROSS JOIN LATERAL pg_catalog.pg_identify_object(f.catalog, f.oid, 0) i
    WHERE n.nspname = ANY (%s) AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = f.catalog AND d.objid = f.oid AND d.deptype IN ('e', 'i')
            AND d.refobjid <> f.oid)  -- a table that is partitioned depends on itself
"""
_MARK = "convault drill "


class _Before(NamedTuple):
    """What the database was like before a drill came."""

    comment: str | None
    schemas: list[str]
    extensions: list[str]
    tables: list[str]
    """that the drill makes"""


@contextmanager
def borrowed(url: str, manifest: Manifest) -> Iterator[Scratch]:
    """The database at `url` for the block; what the drill makes in it is gone behind it.

    ConfigurationError, before anything is written, when it holds a table that no drill made, or
    when the role owns it not, or may do more than a drill's role may; BusyError when another drill
    is in it; SourceError when it cannot be reached.
    """
    with translated(), closing(session.connect(url)) as connection, _alone(connection):
        before, database = _taken(connection, manifest)
        try:
            version = connection.info.parameter_status("server_version") or ""
            yield Scratch(url, f"the database {database}, Postgres {version}")
        finally:
            _clear(connection, before, database)


def _taken(connection: psycopg.Connection[Any], manifest: Manifest) -> tuple[_Before, str]:
    """Cleared of what a drill that was killed has left, and marked."""
    database, comment = _require_harmless(connection)
    if comment is not None and comment.startswith(_MARK):
        left = _left(comment, database)
        _require_only(connection, left.tables, database)
        _clear(connection, left, database)
        comment = left.comment
    _require_only(connection, [], database)
    target.require_empty(connection)
    before = _Before(
        comment,
        _names(connection, "SELECT nspname FROM pg_catalog.pg_namespace"),
        _names(connection, "SELECT extname FROM pg_catalog.pg_extension"),
        [str(table.name) for table in manifest.restored],
    )
    _comment(connection, database, _MARK + json.dumps(before._asdict()))
    return before, database


@contextmanager
def _alone(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Given back at once: a server that is busy notices late that a session is gone."""
    key = (key_of("drill"),)
    got = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", key).fetchone()
    if got != (True,):
        raise BusyError("Another drill works in that database: wait until it is done.")
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # then it ends with the session
            connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", key)


def _require_harmless(connection: psycopg.Connection[Any]) -> tuple[str, str | None]:
    """The database's name and comment."""
    row = connection.execute(_DATABASE).fetchone()
    powers = powers_of(connection)
    assert row is not None
    assert powers is not None
    owner, database, comment = row
    if powers.server:
        raise ConfigurationError(
            f"The role that is to drill {powers}, and a backup brings SQL of its own. Use a role "
            "that owns the scratch database and may do nothing else."
        )
    if not owner:
        raise ConfigurationError(
            f"The role that is to drill does not own the database {database}, so it could not be "
            f"marked and cleared. ALTER DATABASE {database} OWNER TO it, or use another one."
        )
    return database, comment


def _require_only(connection: psycopg.Connection[Any], made: list[str], database: str) -> None:
    there = [f"{schema}.{name}" for schema, name in _user_tables(connection)]
    strangers = sorted(set(there) - set(made))
    if strangers:
        more = f" and {len(strangers) - 3} more" if len(strangers) > 3 else ""
        raise ConfigurationError(
            f"The database {database} holds tables that no drill made: {', '.join(strangers[:3])}"
            f"{more}. Nothing was changed: drill --into an empty database, or without --into."
        )


def _user_tables(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    rows = connection.execute(_TABLES).fetchall()
    return [(schema, name) for schema, name in rows if not is_managed(schema)]


def _left(comment: str, database: str) -> _Before:
    try:
        return _Before(**json.loads(comment.removeprefix(_MARK)))
    except (ValueError, TypeError):
        raise ConfigurationError(
            f"The comment on the database {database} says that a drill is in it, but cannot be "
            "read. Drop that database and create it again."
        ) from None


def _clear(connection: psycopg.Connection[Any], before: _Before, database: str) -> None:
    """Drop what was made, all or nothing, and put the comment back."""
    with connection.transaction():
        new = set(_names(connection, "SELECT extname FROM pg_catalog.pg_extension"))
        for name in sorted(new - set(before.extensions)):
            _drop(connection, "EXTENSION", sql.Identifier(name))
        new = set(_names(connection, "SELECT nspname FROM pg_catalog.pg_namespace"))
        for name in sorted(new - set(before.schemas)):
            if not is_managed(name):
                _drop(connection, "SCHEMA", sql.Identifier(name))
        own = [s for s in before.schemas if not is_managed(s) and s != "information_schema"]
        for kind, identity in connection.execute(_MADE, (own,)).fetchall():
            word = "ROUTINE" if kind in {"function", "procedure", "aggregate"} else kind.upper()
            # An identity is quoted as SQL wants it, by the server.
            _drop(connection, word, sql.SQL(identity))
        _comment(connection, database, before.comment)


def _drop(connection: psycopg.Connection[Any], kind: str, name: sql.Composable) -> None:
    statement = sql.SQL("DROP {} IF EXISTS {} CASCADE")  # dropped with another one, perhaps
    connection.execute(statement.format(sql.SQL(kind), name))


def _comment(connection: psycopg.Connection[Any], database: str, text: str | None) -> None:
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    connection.execute(statement.format(sql.Identifier(database), sql.Literal(text)))


def _names(connection: psycopg.Connection[Any], query: str) -> list[str]:
    return [name for (name,) in connection.execute(query.encode())]
