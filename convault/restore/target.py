"""The database that a backup is restored into: reached, and proven empty."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from convault.dataset.tables import OWN_TABLES, is_managed
from convault.errors import RestoreError, SourceError
from convault.formats.postgres_types import quoted
from convault.models import TableName
from convault.schema import RESTORE_SETTINGS
from convault.sources import session
from convault.sources.failures import reason, sqlstate

KEPT = "convault_undo_"
"""how the names of schemas begin in which rows are kept for an undo"""
_SHOWN = 5
"""names of things in the way that an error shows"""

# Types: no row types of tables, no arrays, no multiranges: those come and go with their owner.
_IN_THE_WAY = """
    WITH own AS (
        SELECT c.oid FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname || '.' || c.relname = ANY (%(own)s)
    ), found AS (
        SELECT 'pg_class'::regclass AS catalog, c.oid, c.relnamespace AS schema, c.relname AS name
        FROM pg_catalog.pg_class c
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.oid NOT IN (SELECT oid FROM own)
            AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_depend d
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                    AND d.refobjid IN (SELECT oid FROM own))
        UNION ALL
        SELECT 'pg_type'::regclass, t.oid, t.typnamespace, t.typname
        FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
        WHERE coalesce(c.relkind, 'c') = 'c' AND t.typtype <> 'm'
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid)
        UNION ALL
        SELECT 'pg_proc'::regclass, p.oid, p.pronamespace, p.proname FROM pg_catalog.pg_proc p
        WHERE NOT (
            starts_with(p.proname::text, 'convault_') AND EXISTS (SELECT FROM own)
            AND p.pronamespace IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'public')
        )
    )
    SELECT n.nspname, f.name
    FROM found f JOIN pg_catalog.pg_namespace n ON n.oid = f.schema
    WHERE n.nspname <> ALL ('{pg_catalog,information_schema}')
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = f.catalog AND d.objid = f.oid AND d.deptype = 'e')
    ORDER BY 1, 2
"""

_EXISTS = """
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_roles r WHERE 'role ' || r.rolname = %(name)s
    ) OR EXISTS (
        SELECT FROM pg_catalog.pg_available_extensions e WHERE 'extension ' || e.name = %(name)s
    ) OR EXISTS (
        SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE %(name)s IN (n.nspname || '.' || c.relname, c.oid::regclass::text)
    ) OR EXISTS (
        SELECT FROM pg_catalog.pg_proc p WHERE p.oid::regprocedure::text = %(name)s
    ) OR EXISTS (
        SELECT FROM pg_catalog.pg_type t WHERE t.oid::regtype::text = %(name)s
    ) OR EXISTS (
        SELECT FROM pg_catalog.pg_operator o WHERE o.oid::regoperator::text = %(name)s
    )
"""


def connected(url: str) -> psycopg.Connection[Any]:
    """As `session.connect`; what is wrong with the target is a RestoreError."""
    try:
        return session.connect(url)
    except SourceError as error:
        message = re.sub(r"\b(the|The) source\b", r"\1 target", error.message)
        raise RestoreError(f"Nothing was restored. {message}", **error.ids) from None


@contextmanager
def transaction(
    url: str, *, dry_run: bool = False, role: str | None = None
) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose one transaction commits when the block ends, and leaves no trace when it
    fails, or with `dry_run`. The transaction is that of `role`, if it is named. RestoreError when
    the target cannot be reached or refuses."""
    connection = connected(url)
    try:
        with refusals("the restore"):
            connection.execute("BEGIN")
            if role is not None:
                connection.execute(f"SET LOCAL ROLE {quoted(role)}".encode())
            for name, value in RESTORE_SETTINGS.items():
                connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
            begun = _transaction_id(connection)
            yield connection
            if _transaction_id(connection) != begun:
                raise RestoreError(
                    "The statements of the backup ended the restore's transaction, as only a "
                    "forged one can. Part of it may be in the target: drop that database."
                )
        if dry_run:
            return
        with refusals("to commit"):
            _commit(connection)
    finally:
        connection.close()  # which undoes what is not committed


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Raise what the driver raises inside the block as a RestoreError: the target refused `what`.
    Like every driver's error it may quote rows, so that only its reason is kept."""
    try:
        yield
    except psycopg.Error as error:
        raise RestoreError(
            f"The target refused {what}: {reason(error)}. Nothing was changed; the target's own "
            "log holds the rest of the message."
        ) from None


def _transaction_id(connection: psycopg.Connection[Any]) -> object:
    return connection.execute("SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text").fetchone()


def _commit(connection: psycopg.Connection[Any]) -> None:
    try:
        connection.execute("COMMIT")
    except psycopg.OperationalError as error:
        if sqlstate(error) is not None:
            raise
        raise RestoreError(
            f"The connection to the target was lost at the very end: {reason(error)}. Either all "
            "of the backup is in the target, or nothing is: look before you try again."
        ) from None


def require_empty(connection: psycopg.Connection[Any]) -> None:
    """RestoreError when the target holds a relation, a type or a function, other than those of the
    system, of extensions, of schemas that Supabase manages, of Convault's own catalog, and what it
    kept for an undo."""
    own = [str(table) for table in OWN_TABLES]
    rows = connection.execute(_IN_THE_WAY, {"own": own}).fetchall()
    names = [
        f"{schema}.{name}"
        for schema, name in rows
        if not is_managed(schema) and not schema.startswith(KEPT)
    ]
    if not names:
        return
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise RestoreError(
        f"The target is not empty: it holds {', '.join(names[:_SHOWN])}{more}. "
        "Nothing was changed: restore into an empty database (CREATE DATABASE), or into a schema "
        "of its own (--schema NAME). Tables that live there are filled when they have the names of "
        "the backup's."
    )


def require_no_schema(connection: psycopg.Connection[Any], schema: str) -> None:
    """RestoreError when the schema is there already, or is one that somebody else fills."""
    if is_managed(schema) or schema == "public":
        raise RestoreError(
            f"The schema {schema} belongs to Supabase, Postgres or the application: name a new "
            "one, such as --schema restored."
        )
    query = "SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s"
    if connection.execute(query, (schema,)).fetchone() is not None:
        raise RestoreError(
            f"The target has a schema {schema} already. Nothing was changed: name another one, or "
            "drop it (DROP SCHEMA ... CASCADE) when nobody needs it."
        )


def tables_there(
    connection: psycopg.Connection[Any], names: Collection[TableName]
) -> set[TableName]:
    """Those of `names` that are tables of the target."""
    rows = connection.execute(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN unnest(%s::pg_catalog.text[], %s::pg_catalog.text[]) AS wanted (schema, name)"
        " ON wanted.schema = n.nspname AND wanted.name = c.relname"
        " WHERE c.relkind IN ('r', 'p')",
        ([name.schema for name in names], [name.name for name in names]),
    ).fetchall()
    return {TableName(schema, name) for schema, name in rows}


def exists(connection: psycopg.Connection[Any], name: str) -> bool:
    """Whether the target has what a statement needs: a relation (`auth.users`), a function
    (`auth.uid()`), a type, an operator, a role (`role anon`), or an extension that is installed or
    can be (`extension moddatetime`), by the name that `Statement.needs` gives it."""
    found = connection.execute(_EXISTS, {"name": name}).fetchone()
    return bool(found and found[0])
