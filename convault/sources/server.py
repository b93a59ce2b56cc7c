"""What a server tells of itself, and of who holds its tables."""

from __future__ import annotations

from typing import Any

import psycopg

from convault.models import Dataset


def system_identifier(connection: psycopg.Connection[Any]) -> str:
    """Of the cluster, or '' where the role may not ask (asking would end the transaction)."""
    allowed = connection.execute(
        "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
    ).fetchone()
    if allowed != (True,):
        return ""
    row = connection.execute(
        "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
    ).fetchone()
    return str(row[0]) if row else ""


def who_holds(connection: psycopg.Connection[Any], dataset: Dataset) -> str:
    """The tables that are or will be locked exclusively, and by which server processes."""
    names = {table.oid: table.name for table in dataset.tables}
    rows = connection.execute(
        "SELECT relation, pid FROM pg_catalog.pg_locks"
        " WHERE relation = ANY (%s) AND mode = 'AccessExclusiveLock'"
        " AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname ="
        " pg_catalog.current_database()) ORDER BY granted DESC, pid LIMIT 5",
        (list(names),),
    ).fetchall()
    return ", ".join(f"server process {pid} (on {names[oid]})" for oid, pid in rows)
