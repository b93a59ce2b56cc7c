"""What keeps a database from being read whole and exactly, found before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from convault.errors import MissingPrivilege, RowsHidden, UnsupportedSource
from convault.models import Table

OLDEST_VERSION = 140000
"""Postgres 14, as libpq counts: the first that scans a range of pages (TID range scan)."""

_RIGHTS = """
    SELECT c.oid,
           pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
               AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
           pg_catalog.row_security_active(c.oid)
    FROM pg_catalog.pg_class c WHERE c.oid = ANY (%s)
"""


_DAMAGING = ("zero_damaged_pages", "ignore_checksum_failure")
"""Settings under which a query reads damaged pages as if they were empty, or as they are."""

_OID_COLUMNS = """
    WITH RECURSIVE oids (type) AS (
        SELECT 'pg_catalog.oid'::pg_catalog.regtype::pg_catalog.oid
        UNION ALL
        SELECT t.oid FROM pg_catalog.pg_type t JOIN oids ON t.typbasetype = oids.type
    )
    SELECT attrelid, attname, pg_catalog.quote_ident(attname) FROM pg_catalog.pg_attribute
    WHERE attrelid = ANY (%s) AND atttypid IN (SELECT type FROM oids)
      AND attnum > 0 AND NOT attisdropped
    ORDER BY attrelid, attnum
"""
"""Domains over oid too, such as `lo` of the extension of that name."""


def require_server(version: int, encoding: str) -> None:
    """UnsupportedSource for a server that is too old, or whose text has no known encoding."""
    if version < OLDEST_VERSION:
        raise UnsupportedSource(
            f"The source is Postgres {version // 10000}; Convault reads 14 and newer. Upgrade the "
            "server, or back it up with the pg_dump that came with it."
        )
    if encoding == "SQL_ASCII":
        raise UnsupportedSource(
            "The source's encoding is SQL_ASCII: nobody knows what its bytes above 127 mean, so "
            "they cannot be written as UTF-8. Move it to a database with encoding UTF8."
        )


def require_whole_pages(connection: psycopg.Connection[Any]) -> None:
    """UnsupportedSource when the role's or the server's settings let damage pass unseen."""
    for name in _DAMAGING:
        if connection.execute("SELECT pg_catalog.current_setting(%s)", (name,)).fetchone() != (
            "off",
        ):
            raise UnsupportedSource(
                f"The setting {name} is on for this role: rows on damaged pages would be missing "
                "from the backup, or wrong, without an error. Turn it off (ALTER ROLE or ALTER "
                "SYSTEM RESET) and restore or repair what is damaged.",
                setting=name,
            )


def require_no_large_objects(connection: psycopg.Connection[Any], tables: Sequence[Table]) -> None:
    """UnsupportedSource when a column of the tables holds the number of a large object: what it
    holds lies in none of them."""
    if connection.execute("SELECT FROM pg_catalog.pg_largeobject_metadata LIMIT 1").rowcount == 0:
        return
    with_rows = {table.oid: table for table in tables if table.kind == "r"}
    for oid, name, column in connection.execute(_OID_COLUMNS, (list(with_rows),)).fetchall():
        if not _is_read(with_rows[oid], name):
            continue
        table = with_rows[oid].name
        found = connection.execute(
            f"SELECT FROM ONLY {table.quoted} t JOIN pg_catalog.pg_largeobject_metadata l"
            f" ON l.oid = t.{column} LIMIT 1".encode()
        )
        if found.rowcount:
            raise UnsupportedSource(
                f"The column {name} of {table} names large objects (pg_largeobject), and these are "
                "not backed up yet: a restore would have their numbers without their content. Move "
                "the content into a bytea column, or back them up with pg_dump.",
                table=table,
                column=name,
            )


def _is_read(table: Table, column: str) -> bool:
    return any(c.name == column and not c.mask for c in table.columns)


def require_rights(connection: psycopg.Connection[Any], tables: Sequence[Table]) -> None:
    """MissingPrivilege or RowsHidden, naming every table that this role cannot read whole."""
    answers = connection.execute(_RIGHTS, ([table.oid for table in tables],)).fetchall()
    names = {table.oid: str(table.name) for table in tables}
    role = connection.info.user
    unreadable = sorted(names[oid] for oid, readable, _ in answers if readable is False)
    if unreadable:
        raise MissingPrivilege(
            f"The role {role} may not read {', '.join(unreadable)}. GRANT it SELECT on them (and "
            "USAGE on their schemas), or GRANT it pg_read_all_data.",
            table=unreadable[0],
            role=role,
        )
    hidden = sorted(names[oid] for oid, _, active in answers if active)
    if hidden:
        raise RowsHidden(
            f"Row security hides rows of {', '.join(hidden)} from the role {role}, and a backup "
            "without them would look complete. Back up as a role with BYPASSRLS (in Supabase: "
            "postgres), or as the tables' owner.",
            table=hidden[0],
            role=role,
        )
