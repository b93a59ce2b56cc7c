"""Wait until what a snapshot shows would outlive a crash of the server.

With `synchronous_commit=off` a commit is visible before it is on disk. A crash takes it back, hands
out its number again, and puts other rows in the same places under it; where the server process
survives the crash of one of its children nothing else tells that. So no backup whose rows are not
on disk may be one that others take ranges over from.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import psycopg

from convault.errors import SourceError
from convault.sources.failures import translated
from convault.sources.session import connect

TIMEOUT = 10.0
"""seconds; the server's own writer takes 0.6 at most with its usual settings"""
PATIENCE = 0.2
"""seconds before the server is given a reason to flush"""
_PAUSE = 0.02

_FLUSHED = {
    False: "pg_current_wal_flush_lsn",
    # A standby replays what it has flushed, and nothing else.
    True: "pg_last_wal_replay_lsn",
}
"""By whether the server is a standby."""


def unsettled(url: str, position: str, *, timeout: float = TIMEOUT) -> str:
    """Why the log up to `position` (as `pg_lsn` writes it) may not be on the server's disk, for
    people; '' when it is, for which it waits `timeout` seconds at most."""
    if not position:
        return "the role may not ask how far the source's log goes"
    try:
        with closing(connect(url)) as connection, translated():
            return _waited(connection, position, timeout)
    except SourceError as error:
        return f"whether the source's log was flushed could not be asked: {error.message}"


def _waited(connection: psycopg.Connection[Any], position: str, timeout: float) -> str:
    (standby,) = connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone()  # type: ignore[misc]
    function = f"pg_catalog.{_FLUSHED[standby]}()"
    allowed = connection.execute(
        "SELECT pg_catalog.has_function_privilege(%s, 'EXECUTE')", (function,)
    ).fetchone()
    if allowed != (True,):
        return f"the role may not ask for {_FLUSHED[standby]}()"
    started = time.monotonic()
    nudged = standby
    query = f"SELECT coalesce({function} >= %s::pg_catalog.pg_lsn, false)".encode()
    while connection.execute(query, (position,)).fetchone() != (True,):
        waited = time.monotonic() - started
        if waited > timeout:
            return f"the source's log was not flushed to {position} within {timeout:g} s"
        if not nudged and waited > PATIENCE:
            _nudge(connection)
            nudged = True
        time.sleep(_PAUSE)
    return ""


def _nudge(connection: psycopg.Connection[Any]) -> None:
    """End a transaction that has a number and did nothing: the server's writer flushes up to there,
    where it would leave a page alone that only open transactions have begun."""
    try:
        with connection.transaction():
            connection.execute("SET TRANSACTION READ WRITE")
            connection.execute("SELECT pg_catalog.txid_current()")
    except psycopg.Error:
        return  # somebody who may only read waits for others to commit
