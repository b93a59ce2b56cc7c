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
