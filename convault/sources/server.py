"""What a server tells of itself, and of who holds its tables."""

from __future__ import annotations

from typing import Any, NamedTuple

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


class LogPosition(NamedTuple):
    """How far a server's write-ahead log goes."""

    timeline: int | None = None
    """None where the role may not ask"""
    position: str = ""
    """as `pg_lsn` writes it; '' where the role may not ask"""


_ASKS = {
    False: (
        "pg_current_wal_insert_lsn()",
        "pg_walfile_name(pg_lsn)",
    ),
    True: (
        "pg_last_wal_replay_lsn()",
        "pg_control_checkpoint()",
        "pg_control_recovery()",
    ),
}
_POSITIONS = {
    # The control file keeps the timeline before until the first checkpoint after a promotion.
    False: """
        SELECT p::text, ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(p), 8))::bit(32)::int4
        FROM pg_catalog.pg_current_wal_insert_lsn() p
    """,
    True: """
        SELECT pg_catalog.pg_last_wal_replay_lsn()::text,
               greatest(c.timeline_id, r.min_recovery_end_timeline)
        FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r
    """,
}
"""By whether the server is a standby."""


def log_position(connection: psycopg.Connection[Any]) -> LogPosition:
    """Where the log of the cluster was inserted to, or on a standby replayed to. What the role may
    not ask is not asked: that would end the transaction."""
    (standby,) = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()  # type: ignore[misc]
    allowed = connection.execute(
        "SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege(name, 'EXECUTE'))"
        " FROM pg_catalog.unnest(%s::text[]) name",
        ([f"pg_catalog.{name}" for name in _ASKS[standby]],),
    ).fetchone()
    if allowed != (True,):
        return LogPosition()
    position, timeline = connection.execute(_POSITIONS[standby].encode()).fetchone()  # type: ignore[misc]
    return LogPosition(timeline, position or "")


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
