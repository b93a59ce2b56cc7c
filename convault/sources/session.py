"""Connections with the session settings under which Postgres writes values exactly."""

from __future__ import annotations

import re
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from convault.errors import ConfigurationError
from convault.sources.failures import translated

SETTINGS: dict[str, str] = {
    "quote_all_identifiers": "off",
    "row_security": "off",  # an error instead of hidden rows
    "search_path": "",  # every name spelled out, and nobody's functions in the way
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "extra_float_digits": "3",
    "standard_conforming_strings": "on",  # or backslashes in deparsed literals mean something else
    "array_nulls": "on",  # or a NULL in an array is loaded as a word
    "synchronize_seqscans": "off",  # rows in the order of their pages
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
"""As careful dump tools set them (pg_dump.c, setup_connection)."""

_PARAMETERS: dict[str, Any] = {
    "application_name": "convault",
    "client_encoding": "UTF8",
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""libpq's. Seconds, but milliseconds for tcp_user_timeout: a peer that is gone is noticed after
about a minute."""

CONNECT_TIMEOUT = 15
"""seconds, unless the URL says otherwise"""


def connection_string(url: str, *, options: str = "") -> str:
    """`url` with Convault's connection parameters, as libpq takes it; it holds the password.
    `options` are further ones of the server's command line.

    ConfigurationError when it is no libpq URL, or when an unencoded character in the password
    makes it another one: libpq's own message would quote the rest of the password.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        given = {"host": "@"}
    host, port = str(given.get("host") or ""), str(given.get("port") or "")
    if "@" in host or not re.fullmatch(r"[\d,]*", port) or "@" in str(given.get("dbname") or ""):
        raise ConfigurationError(
            "The database URL cannot be read. It looks like "
            "postgresql://user:password@host:5432/database; characters such as @ / : # ? % in the "
            "user, the password or the name must be percent-encoded (@ is %40)."
        )
    given.setdefault("connect_timeout", CONNECT_TIMEOUT)
    if options:
        given["options"] = f"{given.get('options', '')} {options}".strip()
    return make_conninfo("", **{**given, **_PARAMETERS})


def settings_query(server_version: int) -> str:
    """One SELECT that makes the settings of the session; `server_version` as libpq counts it
    (170002 is 17.2)."""
    settings = dict(SETTINGS)
    if server_version >= 170000:
        settings["transaction_timeout"] = "0"
    calls = ", ".join(
        f"pg_catalog.set_config('{name}', '{value}', false)" for name, value in settings.items()
    )
    return f"SELECT {calls}"


def connect(url: str, *, lock_timeout: float = 0) -> psycopg.Connection[Any]:
    """A connection in autocommit mode with the session settings; the caller closes it.

    `lock_timeout` is in seconds, 0 waits for ever. Raises ConfigurationError for a malformed URL,
    and AuthenticationError, SourceUnavailable, SourceError as the server answers.
    """
    parameters = connection_string(url)
    with translated():
        connection = psycopg.connect(parameters, autocommit=True)
    try:
        with translated():
            connection.execute(settings_query(connection.info.server_version).encode())
            connection.execute(f"SET lock_timeout = {milliseconds(lock_timeout)}".encode())
    except BaseException:
        connection.close()
        raise
    return connection


def reader_options(connection: psycopg.Connection[Any]) -> str:
    """The server's options without which ADBC cannot connect where `connection` could: it asks for
    the names of types before any setting can be made. '' almost everywhere, because a connection
    pooler may refuse to pass options on."""
    row = connection.execute(
        "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'quote_all_identifiers'"
    ).fetchone()
    return "-c quote_all_identifiers=off" if row == ("on",) else ""


def milliseconds(seconds: float) -> int:
    """For a Postgres timeout, where 0 would mean for ever."""
    return max(1, round(seconds * 1000)) if seconds else 0


def address(connection: psycopg.Connection[Any]) -> str:
    """`host:port` as the connection was made; the host of a Unix socket is its folder."""
    info = connection.info
    host = f"[{info.host}]" if ":" in info.host else info.host
    return f"{host}:{info.port}"
