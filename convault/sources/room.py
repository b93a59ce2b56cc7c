"""How many connections a server has left for a backup that somebody else's work goes on beside."""

from __future__ import annotations

from typing import Any

import psycopg

_FREE = """
    SELECT least(
        current_setting('max_connections')::int
            - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0)
            - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datid IS NOT NULL),
        (SELECT nullif(rolconnlimit, -1)
            - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usesysid = r.oid)
         FROM pg_catalog.pg_roles r WHERE rolname = session_user AND NOT rolsuper),
        (SELECT nullif(datconnlimit, -1)
            - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datid = d.oid)
         FROM pg_catalog.pg_database d WHERE datname = pg_catalog.current_database()))::int
"""
"""By the limits of the server, of the role and of the database. Who may not see what others do may
still see that they are there: `datid` and `usesysid` are for everybody."""


_ASKED = """
    SELECT pg_catalog.has_table_privilege('pg_catalog.pg_stat_activity', 'SELECT')
       AND pg_catalog.has_table_privilege('pg_catalog.pg_roles', 'SELECT')
       AND pg_catalog.has_function_privilege('pg_catalog.pg_stat_get_activity(int4)', 'EXECUTE')
"""


def readers_allowed(connection: psycopg.Connection[Any], wanted: int) -> int:
    """How many of the `wanted` connections may be opened beside this one: no more than half of
    those that are left, since the catalog, the school's own application and whoever repairs it want
    some too; 1 at least. Where the role may not ask what is left, all of them."""
    if connection.execute(_ASKED).fetchone() != (True,):
        return wanted  # asking would end the transaction
    row = connection.execute(_FREE).fetchone()
    assert row is not None
    return min(wanted, max(1, int(row[0]) // 2))
