"""What the database server says of itself: version, timeouts, clock, and the role's powers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg

from convault.doctor.clocks import Clock
from convault.doctor.finding import Finding, amber, not_checked, ok, red
from convault.sources.failures import translated
from convault.sources.refusals import OLDEST_VERSION
from convault.sources.session import connect, connection_string

_TIMEOUTS = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
_SET = """
    SELECT s.setting, CASE WHEN s.setrole = 0 THEN 'database' ELSE 'role' END
    FROM (
        SELECT setrole, setdatabase, pg_catalog.unnest(setconfig) setting
        FROM pg_catalog.pg_db_role_setting
    ) s
    JOIN pg_catalog.pg_roles r ON r.rolname = session_user
    JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
    WHERE s.setrole IN (0, r.oid) AND s.setdatabase IN (0, d.oid)
    ORDER BY s.setrole <> 0, s.setdatabase <> 0
"""
"""in the order in which the server applies them: the last one counts"""
_ROLE = """
    SELECT current_user::text, rolsuper, rolbypassrls
    FROM pg_catalog.pg_roles WHERE rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class Server:
    """What a server told of itself and of the role."""

    version: int
    """as libpq counts: 170002 is 17.2"""
    encoding: str
    role: str
    superuser: bool
    bypasses_row_security: bool
    configured: Mapping[str, str]
    """timeouts as the role gets them when it connects, such as `2min`; `0` is none"""
    effective: Mapping[str, str]
    """the same in a session of Convault's"""
    origins: Mapping[str, str]
    """`role` or `database` for those that somebody set there"""
    clock: Clock
    database_bytes: int
    """of the whole database, which no backup exceeds by much"""


def ask(url: str) -> Server:
    """Connect twice, plainly and as a backup does. The errors of `sources.session.connect`."""
    with translated():
        plain = psycopg.connect(connection_string(url), autocommit=True)
    with closing(plain), translated():
        configured = _timeouts(plain)
        origins = {}
        for setting, origin in plain.execute(_SET).fetchall():
            origins[setting.partition("=")[0]] = origin
        row = plain.execute(_ROLE).fetchone()
        before = datetime.now(UTC)
        now = plain.execute("SELECT pg_catalog.clock_timestamp()").fetchone()
        after = datetime.now(UTC)
        size = plain.execute(
            "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"
        ).fetchone()
        info = plain.info
        version, encoding = info.server_version, info.parameter_status("server_encoding") or ""
    assert row is not None
    assert now is not None
    assert size is not None
    with closing(connect(url)) as session, translated():
        effective = _timeouts(session)
    clock = Clock(now[0] - (before + (after - before) / 2), (after - before) / 2)
    role, superuser, bypasses = row
    return Server(
        version, encoding, role, superuser, bypasses, configured, effective, origins,
        clock, size[0],
    )  # fmt: skip


def _timeouts(connection: psycopg.Connection[tuple[str, str]]) -> dict[str, str]:
    rows = connection.execute(
        "SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings"
        " WHERE name = ANY (%s)",
        (list(_TIMEOUTS),),
    ).fetchall()
    return dict(rows)


def judge_version(server: Server) -> Finding:
    """Postgres 14 is the first that can be read by ranges of pages."""
    name, major = "server version", server.version // 10000
    if server.version < OLDEST_VERSION:
        return red(
            name,
            f"the source is Postgres {major}",
            "Convault reads 14 and newer: upgrade the server (in Supabase: Project Settings > "
            "Infrastructure), or back it up with the pg_dump that came with it.",
        )
    if server.encoding == "SQL_ASCII":
        return red(
            name,
            f"Postgres {major}, whose encoding SQL_ASCII does not say what bytes above 127 mean",
            "Move the data to a database with encoding UTF8.",
        )
    return ok(name, f"Postgres {major}, {server.encoding}")


def judge_timeouts(server: Server) -> Finding:
    """A timeout of the role is harmless where Convault's own session overrides it."""
    name = "statement timeouts"
    left = {n: v for n, v in server.effective.items() if v not in ("0", "")}
    if left:
        told = ", ".join(f"{n} = {v}" for n, v in sorted(left.items()))
        return red(
            name,
            f"{told} holds although Convault's session sets it to 0",
            "A pooler in transaction mode loses settings: use the session pooler or the direct "
            f"connection. Or lift it for the role: ALTER ROLE {_quoted(server.role)} SET "
            f"{min(left)} = 0.",
        )
    limited = {n: v for n, v in server.configured.items() if v not in ("0", "")}
    if limited:
        told = ", ".join(
            f"{n} = {v} (set on the {server.origins.get(n, 'server')})"
            for n, v in sorted(limited.items())
        )
        return ok(name, f"{told}; Convault's session overrides it")
    return ok(name, "none")


def judge_role(server: Server) -> Finding:
    """Who reads: a role that sees every row, and no more than it needs."""
    name = "role"
    if server.superuser:
        return amber(
            name,
            f"{server.role} is a superuser, and a backup needs to read only",
            "Make a role that only reads (docs/operations.md, The role that reads).",
        )
    if server.bypasses_row_security:
        return ok(name, f"{server.role} bypasses row security")
    return ok(name, f"{server.role} is under row security where a table has it")


def judge_pg_dump(version_text: str | None, server_version: int) -> Finding:
    """For people who use it beside Convault, which does not. `version_text` is what
    `pg_dump --version` says, None where there is none on PATH."""
    name, server = "pg_dump", server_version // 10000
    if version_text is None:
        return not_checked(name, "there is none on PATH, and Convault does not need it")
    found = re.search(r"(\d+)(?:\.\d+|devel|beta\d|rc\d)", version_text)
    if found is None:
        return not_checked(name, "the one on PATH does not tell its version")
    if int(found[1]) < server:
        return amber(
            name,
            f"the one on PATH is of version {found[1]} and cannot dump this server, which is "
            f"Postgres {server}",
            "Convault does not need it; to use it beside Convault, install the client tools of "
            f"Postgres {server}.",
        )
    return ok(name, f"version {found[1]}; Convault does not need it")


def pg_dump_version() -> str | None:
    """What the pg_dump on PATH says of itself."""
    program = shutil.which("pg_dump")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timedelta(seconds=10).total_seconds(), check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def examine(server: Server) -> Iterator[Finding]:
    """Everything that the server said, judged."""
    yield judge_version(server)
    yield judge_timeouts(server)
    yield judge_role(server)
    yield judge_pg_dump(pg_dump_version(), server.version)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
