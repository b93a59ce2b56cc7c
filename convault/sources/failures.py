"""Translate what the drivers raise into the SourceError tree, and cut what quotes rows or secrets.

Postgres puts values into DETAIL, HINT and CONTEXT, and for some classes of errors into the message
itself (`invalid input syntax for type integer: "..."`). Only the first line of the message, and
only of classes whose messages name nothing but objects and settings, leaves the process; and none
that arose inside a function.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import adbc_driver_manager as adbc
import psycopg
import pyarrow as pa

from convault.errors import (
    AuthenticationError,
    LockNotAvailable,
    MissingPrivilege,
    MissingTable,
    RowsHidden,
    SourceError,
    SourceUnavailable,
    UnsupportedSource,
)

STREAM_ERRORS: tuple[type[Exception], ...] = (adbc.Error, pa.ArrowException, OSError)
"""What ADBC raises: its own errors, and Arrow's or OSError in the middle of a result."""

_QUOTING_NO_VALUES = (
    "08", "0A", "25", "26", "28", "2B", "34", "3D", "3F", "40", "42", "53", "54", "55", "57", "58",
    "72", "F0", "XX001", "XX002",
)  # fmt: skip
"""Classes of SQLSTATE (Postgres' documentation, appendix A) whose messages name objects, settings
and limits. Not 22 (data exceptions quote data), 23, 44, P0 (whatever a function raises) and XX000
(whatever an extension raises)."""

_LOST = ("08", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04")
_BUSY = ("53", "57014", "40001")

_FROM_OUTSIDE = (
    psycopg.OperationalError, psycopg.InterfaceError, psycopg.DataError, adbc.OperationalError,
)  # fmt: skip
"""What can happen to a right program without a SQLSTATE: no connection, or a value that the driver
cannot hold."""

_TELLING: tuple[tuple[str, type[SourceError], str], ...] = (
    (
        r"authentication failed|no password|password is empty|role \".*\" does not exist"
        r"|pg_hba\.conf|not permitted to log in|Tenant or user not found",
        AuthenticationError,
        "The source refuses the user or the password: {reason}. Check both in its URL; characters "
        "such as @ / : # % in a password must be percent-encoded.",
    ),
    (
        r"permission denied for database",
        MissingPrivilege,
        "The role may not use this database: {reason}. GRANT CONNECT on it to the role.",
    ),
    (
        r"database \".*\" does not exist",
        SourceError,
        "The database that the URL names is not on that server: {reason}. Check the URL.",
    ),
    (
        r"certificate|does not support SSL|sslmode",
        SourceError,
        "The source and this machine do not agree on encryption: {reason}. Check sslmode and "
        "sslrootcert in the URL.",
    ),
)
"""A connection that is refused comes without a SQLSTATE: only the words tell why."""


@contextmanager
def translated(**ids: object) -> Iterator[None]:
    """Raise what psycopg and ADBC raise inside the block as one of the SourceError tree, carrying
    `ids` (table=, range=). The driver's error is not chained: it quotes rows.

    A wrong use of the driver, which no server has answered, is a defect and passes unchanged.
    """
    try:
        yield
    except (psycopg.Error, adbc.Error) as error:
        if sqlstate(error) is None and not isinstance(error, _FROM_OUTSIDE):
            raise
        raise failure(error, **ids) from None


def failure(error: Exception, **ids: object) -> SourceError:
    """The SourceError that says what the driver's `error` says, without values."""
    state, why = sqlstate(error), reason(error)
    if state is None and isinstance(error, psycopg.DataError):
        return SourceError("The source holds a value that the driver cannot take.", **ids)
    if state is None:
        return _without_state(why, ids)
    if state.startswith("28"):
        return AuthenticationError(
            f"The source refuses the user or the password: {why}. Check both in its URL.", **ids
        )
    if state.startswith(_LOST):
        return SourceUnavailable(
            f"The connection to the source was lost: {why}. Trying again can help.", **ids
        )
    if state.startswith(_BUSY):
        return SourceUnavailable(
            f"The source has not enough left, or cancelled a query: {why}. Trying again can help.",
            **ids,
        )
    if state in ("55P03", "40P01"):
        return LockNotAvailable(
            f"A lock on {ids.get('table', 'a table')} could not be had: {why}. Somebody else "
            "changes it or waits to; try again later, or raise CONVAULT_LOCK_TIMEOUT.",
            **ids,
        )
    if state == "42501" and "row-level security" in why:
        return RowsHidden(
            f"Row security hides rows from this role: {why}. Back up as a role with BYPASSRLS.",
            **ids,
        )
    if state == "42501":
        return MissingPrivilege(
            f"The role may not read what the backup needs: {why}. GRANT SELECT on the dataset's "
            "tables (and USAGE on their schemas) to it, or membership in pg_read_all_data.",
            **ids,
        )
    if state in ("42P01", "3F000"):
        return MissingTable(f"The source lacks a table: {why}. Was it just dropped?", **ids)
    if state == "0A000":
        return UnsupportedSource(f"The source cannot do what a backup needs: {why}.", **ids)
    return SourceError(
        f"The source refused: {why}. Its own log holds the rest of the message.", **ids
    )


def reason(error: Exception) -> str:
    """What the error says in one line that holds no value of a row. Never ends with a full stop."""
    state = sqlstate(error)
    if state is None:
        return _client_reason(str(error))
    if state.startswith(_QUOTING_NO_VALUES) and not _from_function(error):
        return f"{_first_line(_primary(error))} ({state})"
    return f"{_name(state)} ({state})"


def sqlstate(error: Exception) -> str | None:
    """The five characters by which Postgres tells its errors apart, if it said them."""
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) and len(state) == 5 else None


def _name(state: str) -> str:
    try:
        return psycopg.errors.lookup(state).__name__
    except KeyError:
        return "an error of its own"


def _primary(error: Exception) -> str:
    if isinstance(error, psycopg.Error):
        return error.diag.message_primary or ""
    return _detail(error, "PG_DIAG_MESSAGE_PRIMARY")


def _from_function(error: Exception) -> bool:
    """Whether it arose inside a function, which may raise any SQLSTATE with any text."""
    if isinstance(error, psycopg.Error):
        context, place = error.diag.context, error.diag.source_function
    else:
        context, place = (
            _detail(error, "PG_DIAG_CONTEXT"),
            _detail(error, "PG_DIAG_SOURCE_FUNCTION"),
        )
    return bool(context) or place == "exec_stmt_raise"


def _detail(error: Exception, name: str) -> str:
    """What ADBC tells of an error beside its message."""
    details = dict(getattr(error, "details", ()))
    found = details.get(name) or details.get(name.encode()) or b""
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)


def _client_reason(text: str) -> str:
    """The innermost cause of a failed connection: `connection to server at "..." failed: ...`."""
    line = _first_line(re.split(r"failed: ", text)[-1])
    return re.sub(r"^(FATAL|ERROR|IO|error):\s*", "", line) or "no reason given"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip().rstrip(".")


def _without_state(why: str, ids: dict[str, object]) -> SourceError:
    for words, kind, message in _TELLING:
        if re.search(words, why, re.IGNORECASE):
            return kind(message.format(reason=why), **ids)
    return SourceUnavailable(
        f"The source cannot be reached, or the connection was lost: {why}. Check host, port and "
        "network; trying again can help.",
        **ids,
    )
