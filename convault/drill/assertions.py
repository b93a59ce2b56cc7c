"""The operator's own assertions: queries in a file, each of which must return no row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from convault.drill.report import Check, Outcome, passed_or_failed
from convault.errors import ConfigurationError
from convault.models import TableName
from convault.sources.failures import reason, sqlstate
from convault.sources.session import milliseconds

_MAX_BYTES = 1024 * 1024
_TOO_LATE = "57014"
"""query_canceled: by statement_timeout"""
_COUNTED = 1000
"""rows of an answer that are counted at most"""

# As Postgres reads SQL with standard_conforming_strings: what a semicolon does not end a query in.
_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* )
    | (?P<block> /\* )
    | [eE]'(?:[^'\\]|\\.|'')*'
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | (?<![\w$])\$\$ .*? \$\$
    | (?<![\w$])\$(?P<tag>[^\W\d]\w*)\$ .*? \$(?P=tag)\$
    | (?P<end> ; )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK = re.compile(r"/\*|\*/")


class Assertion(NamedTuple):
    """One of them."""

    name: str
    """for the report, which must not hold the query: its text may name somebody"""
    sql: str


def read_assertions(path: Path) -> list[Assertion]:
    """The queries in the file. ConfigurationError when it cannot be read, or holds none."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"The assertions in {path} cannot be read: {why}. Put CONVAULT_DRILL_SQL right."
        ) from None
    if len(data) > _MAX_BYTES:
        raise ConfigurationError(f"{path} is larger than any file of assertions: {_MAX_BYTES} B.")
    queries = list(split(text))
    if not queries:
        raise ConfigurationError(
            f"There is no query in {path}. Put one there, or unset CONVAULT_DRILL_SQL."
        )
    return queries


def split(text: str) -> Iterator[Assertion]:
    """The statements of an SQL text, without the semicolons between them and without comments; the
    first `--` comment before or in one is its name."""
    name, query, at = "", "", 0
    while at < len(text):
        found = _token(text, at)
        at = found.end()
        if found["block"]:
            at = _end_of_block(text, found.start())
            query += " "
        elif found["comment"]:
            name = name or found["comment"].lstrip("-").strip()
            query += " "
        elif found["end"]:
            if query.strip():
                yield Assertion(name, query.strip())
                name = ""
            query = ""
        else:
            query += found[0]
    if query.strip():
        yield Assertion(name, query.strip())


def _token(text: str, at: int) -> re.Match[str]:
    found = _TOKEN.match(text, at)
    assert found is not None  # its last alternative takes anything
    return found


def _end_of_block(text: str, start: int) -> int:
    """Comments of this kind lie in one another."""
    depth = 0
    for found in _BLOCK.finditer(text, start):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)


def assertion_checks(
    connection: psycopg.Connection[Any], queries: Sequence[Assertion], root: TableName | None,
    *, timeout: float,
) -> Iterator[Check]:  # fmt: skip
    """Each query, read only and for at most `timeout` seconds, with the root's schema, if it has
    a root, and `public` as search path. Of an answer nothing is told but how many rows it has."""
    for number, query in enumerate(queries, 1):
        subject = f"query {number}" + (f": {query.name[:80]}" if query.name else "")
        try:
            rows = _rows(connection, query.sql, root, timeout)
        except psycopg.Error as error:
            late = sqlstate(error) == _TOO_LATE
            why = f"it took longer than {timeout:g} s" if late else reason(error)
            yield Check("assertion", subject, Outcome.FAILED, why)
            continue
        more = f"{_COUNTED} rows or more" if rows == _COUNTED else f"{rows} rows"
        yield passed_or_failed("assertion", subject, [f"it returned {more}"] if rows else [])


def _rows(
    connection: psycopg.Connection[Any], query: str, root: TableName | None, timeout: float
) -> int:
    with connection.transaction(force_rollback=True):
        connection.execute("SET TRANSACTION READ ONLY")
        connection.execute(f"SET LOCAL statement_timeout = {milliseconds(timeout)}".encode())
        schemas = ("public",) if root is None else (root.schema, "public")
        path = ", ".join('"' + s.replace('"', '""') + '"' for s in schemas)
        connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
        # A cursor takes a query and nothing else, and of its rows no more than are asked for. The
        # binary format takes the protocol in which a statement cannot be two.
        connection.execute(f"DECLARE assertion NO SCROLL CURSOR FOR {query}".encode(), binary=True)
        fetched = connection.execute(f"MOVE FORWARD {_COUNTED} IN assertion".encode())
        return fetched.rowcount
