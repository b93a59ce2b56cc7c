"""Connections to the catalog's database, and its errors in Convault's words.

The driver's texts never pass: DETAIL quotes rows, `invalid input` quotes values, and what libpq
says of a URL that it cannot parse quotes the URL with its password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from psycopg.types.json import set_json_loads
from pydantic_core import from_json

from convault.errors import CatalogError, CatalogUnavailable, ConfigurationError

Connection = psycopg.Connection[TupleRow]

_CONNECT_SECONDS = 10
_STATEMENT_SECONDS = 60
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""libpq: a peer that is gone is noticed within a minute"""

_SESSION = {
    "TimeZone": "UTC",
    # Row security would hide rows from a role that does not own the table: an error is better.
    "row_security": "off",
    "lock_timeout": "30s",
    "statement_timeout": f"{_STATEMENT_SECONDS}s",
    "idle_session_timeout": "0",
    # The server's side of the keepalives: the advisory lock of a machine that vanished is freed.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

_UNAVAILABLE = ("08", "53", "57", "58", "40", "55")
"""SQLSTATE classes that pass: connection, resources, shutdown, system, deadlock, lock timeout"""

_REASONS = (
    (re.compile("password authentication failed|no password supplied"), False,
     "it refuses the user or the password"),
    (re.compile("no pg_hba.conf entry"), False, "it admits no such user from this host"),
    (re.compile('role ".*" does not exist'), False, "it has no such user"),
    (re.compile('database ".*" does not exist'), False, "it has no such database"),
    (re.compile("translate host name|Name or service not known|failed to resolve"), True,
     "its host name cannot be resolved"),
    (re.compile("Connection refused|No such file or directory"), True,
     "nothing listens at its address"),
    (re.compile("timeout|timed out"), True, "it did not answer in time"),
    (re.compile("too many (clients|connections)|remaining connection slots"), True,
     "it has no free connection"),
    (re.compile("starting up|shutting down|recovery mode"), True, "it is starting or stopping"),
    (re.compile("SSL|certificate"), False, "no encrypted connection could be agreed on"),
)  # fmt: skip
"""What libpq says when it cannot connect (without SQLSTATE), whether that can pass, our words"""


def check_url(url: str) -> None:
    """ConfigurationError unless `url` is one that libpq can read."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            "The catalog's URL must look like postgresql://user:password@host:5432/database: "
            "check CONVAULT_CATALOG_URL, or DATABASE_URL."
        )
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        raise ConfigurationError(
            "The catalog's URL cannot be read: check CONVAULT_CATALOG_URL, or DATABASE_URL. "
            "Characters such as @ / # % in a password are written %40 %2F %23 %25."
        ) from None


def connect(url: str) -> Connection:
    """A new session, in autocommit. CatalogUnavailable, CatalogError."""
    try:
        given = psycopg.conninfo.conninfo_to_dict(url)
        defaults: dict[str, Any] = {
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "convault catalog",
            **_KEEPALIVE,
        }
        connection = psycopg.connect(
            url,
            autocommit=True,
            prepare_threshold=None,  # a prepared statement is lost behind some poolers
            **{name: value for name, value in defaults.items() if name not in given},
        )
    except psycopg.Error as error:
        raise _refused(error) from None
    set_json_loads(from_json, connection)  # takes a third of the time that json.loads does
    try:
        with translated():
            connection.execute(
                "SELECT " + ", ".join("set_config(%s, %s, false)" for _ in _SESSION),
                [text for setting in _SESSION.items() for text in setting],
            )
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A session for the block, closed behind it; the driver's errors are translated."""
    connection = connect(url)
    try:
        with translated():
            yield connection
    finally:
        connection.close()


@contextmanager
def translated() -> Iterator[None]:
    """CatalogUnavailable for what can pass, CatalogError for the rest."""
    try:
        yield
    except psycopg.Error as error:
        raise _translation(error) from None


def _translation(error: psycopg.Error) -> CatalogError:
    state = error.sqlstate
    if state is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return CatalogUnavailable("The connection to the catalog's database was lost: try again.")
    if state is not None and state.startswith(_UNAVAILABLE):
        return CatalogUnavailable(
            f"The catalog's database is busy or stopping (SQLSTATE {state}): try again.",
            sqlstate=state,
        )
    if state in {"42P01", "42703", "3F000"}:
        return CatalogError(
            "The catalog's tables are missing or older than this version: run `convault init`.",
            sqlstate=state,
        )
    if state == "42501":
        return CatalogError(
            "The catalog's role may not do this. It must own public.backups, "
            "public.backup_repositories, public.backup_recipients and public.convault_migrations, "
            "and `convault init` needs GRANT CREATE ON SCHEMA public as well.",
            sqlstate=state,
        )
    where = ", ".join(
        f"{what} {name}"
        for what, name in (
            ("table", error.diag.table_name),
            ("column", error.diag.column_name),
            ("constraint", error.diag.constraint_name),
        )
        if name
    )
    return CatalogError(
        f"The catalog's database refused a statement: {type(error).__name__}, "
        f"SQLSTATE {state}{', ' + where if where else ''}. Its own log tells the rest.",
        **({"sqlstate": state} if state else {}),
    )


def _refused(error: psycopg.Error) -> CatalogError:
    text = str(error)
    for pattern, passes, reason in _REASONS:
        if pattern.search(text):
            kind = CatalogUnavailable if passes else CatalogError
            return kind(
                f"No connection to the catalog's database: {reason}. Check CONVAULT_CATALOG_URL, "
                "or DATABASE_URL."
            )
    return CatalogUnavailable(
        "No connection to the catalog's database. Check CONVAULT_CATALOG_URL, or DATABASE_URL, "
        "and that the server runs."
    )
