"""Read a schema, run it in an empty database, and let pg_dump judge."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg

from convault.dataset import is_managed
from convault.embedded.server import wheel_binaries
from convault.models import Dataset, Statement, Table, TableName
from convault.schema import RESTORE_SETTINGS, read_statements
from convault.sources.session import connect


def run(url: str, sql: str) -> None:
    """Run a script in one transaction."""
    with psycopg.connect(url) as connection:
        connection.execute(sql.encode())


def rows(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def dataset_of(connection: psycopg.Connection[Any], names: Iterable[str] | None = None) -> Dataset:
    """All tables that are not managed (or those of `names`), in an order that helps nobody."""
    found = connection.execute(
        "SELECT n.nspname, c.relname, c.oid, c.relkind::text FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')"
        " AND n.nspname NOT LIKE 'pg\\_%' ORDER BY c.relkind, md5(c.relname)"
    ).fetchall()
    tables = tuple(
        Table(TableName(schema, name), oid, kind, (), (), ())
        for schema, name, oid, kind in found
        if not is_managed(schema) and (names is None or f"{schema}.{name}" in names)
    )
    return Dataset(tables[0].name, tables, ())


def read(url: str, *names: str) -> tuple[Statement, ...]:
    """The statements of those tables, or of all."""
    connection = connect(url)
    try:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return read_statements(connection, dataset_of(connection, names or None))
    finally:
        connection.close()


def write(url: str, statements: Sequence[Statement], rows: str = "") -> None:
    """What a restore does: statements, `rows` (SQL) between the halves, one transaction."""
    with psycopg.connect(url) as connection:
        for name, value in RESTORE_SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        for statement in (s for s in statements if not s.after_data):
            connection.execute(statement.sql.encode())
        if rows:
            connection.execute(rows.encode())
        for statement in (s for s in statements if s.after_data):
            connection.execute(statement.sql.encode())


def pg_dump(url: str, *arguments: str) -> str:
    """The schema as pg_dump sees it, without comments, settings and empty lines."""
    program = wheel_binaries(18) / "pg_dump"
    done = subprocess.run(
        [program, "--schema-only", "--no-owner", "--no-privileges", *arguments, url],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    noise = re.compile(r"--( |$)|SET |SELECT pg_catalog\.set_config|\\(un)?restrict |$")
    return "\n".join(line for line in done.stdout.splitlines() if not noise.match(line))


def rich_schema(version: int) -> str:
    """SQL that fills an empty database of that major version with one of everything."""
    folder = Path(__file__).parent / "sql"
    newer = [folder / f"since_{v}.sql" for v in (15, 17, 18) if version >= v]
    return "\n".join(path.read_text() for path in (folder / "rich.sql", *newer))
