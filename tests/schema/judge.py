"""Read a schema, run it in an empty database, and let pg_dump judge."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import psycopg

from convault.dataset.tables import is_managed
from convault.embedded.server import wheel_binaries
from convault.models import Dataset, Statement, Table, TableName
from convault.restore.target import exists
from convault.schema import RESTORE_SETTINGS, read_statements
from convault.sources.session import connect

_TABLES = """
    SELECT n.nspname, c.relname, c.oid, c.relkind::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' ORDER BY md5(c.relname)
"""

ROLES = """
    DO $do$ DECLARE r text; BEGIN
        FOREACH r IN ARRAY ARRAY['cv_reader', 'cv_writer', 'CV "Odd" Role', 'current_user'] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
                EXECUTE format('CREATE ROLE %I', r);
            END IF;
        END LOOP;
    END $do$;
"""
"""Roles that the rich schema names. They are the cluster's: its databases share them."""


def rich_schema(version: int) -> str:
    """SQL that fills an empty database of that major version with one of everything."""
    folder = Path(__file__).parent / "sql"
    newer = [folder / f"since_{v}.sql" for v in (15, 16, 17, 18) if version >= v]
    parts = (folder / "rich.sql", folder / "corners.sql", folder / "rights.sql", *newer)
    return ROLES + "\n".join(path.read_text() for path in parts)


def run(url: str, sql: str) -> None:
    """Run a script in one transaction."""
    with psycopg.connect(url) as connection:
        connection.execute(sql.encode())


def rows(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def dataset_of(
    connection: psycopg.Connection[Any],
    names: Collection[str] = (),
    shuffled: random.Random | None = None,
) -> Dataset:
    """All tables that are not managed, or those of `names`, in an order that helps nobody."""
    tables = [
        Table(TableName(schema, name), oid, kind, (), (), ())
        for schema, name, oid, kind in connection.execute(_TABLES.encode())
        if not is_managed(schema) and (not names or f"{schema}.{name}" in names)
    ]
    if shuffled:
        shuffled.shuffle(tables)
    return Dataset(tables[0].name, tuple(tables), ())


def read(url: str, *names: str, shuffled: random.Random | None = None) -> tuple[Statement, ...]:
    """The statements of those tables, or of all."""
    connection = connect(url)
    try:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return read_statements(connection, dataset_of(connection, names, shuffled))
    finally:
        connection.close()


def write(url: str, statements: Sequence[Statement], rows: str = "", role: str = "") -> None:
    """What a restore does: statements, `rows` (SQL) between the halves, one transaction. What
    needs something outside that is not there is left out."""
    with psycopg.connect(url) as connection:
        if role:
            connection.execute(f"SET ROLE {role}".encode())
        for name, value in RESTORE_SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        for half in (False, True):
            for statement in statements:
                if statement.after_data is half and all(
                    exists(connection, need) for need in statement.needs
                ):
                    connection.execute(statement.sql.encode())
            if rows and not half:
                connection.execute(rows.encode())


def pg_dump(url: str) -> str:
    """The schema as pg_dump sees it, without its comments, settings and empty lines. The order of
    privileges is that in which they were granted, and that of a policy's roles the one in which
    they lie in the cluster, so these come sorted."""
    done = subprocess.run(
        [wheel_binaries(18) / "pg_dump", "--schema-only", "--no-owner", url],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    noise = re.compile(r"--( |$)|SET |SELECT pg_catalog\.set_config|\\(un)?restrict |$")
    lines = [
        _POLICY.sub(_with_sorted_roles, line)
        for line in done.stdout.splitlines()
        if not noise.match(line)
    ]
    rights = sorted(line for line in lines if line.startswith(("GRANT ", "REVOKE ")))
    return "\n".join([line for line in lines if line not in rights] + rights)


_POLICY = re.compile(r"(?<= TO ).+?(?= USING | WITH CHECK |;$)")


def _with_sorted_roles(roles: re.Match[str]) -> str:
    whole = roles.string.startswith("CREATE POLICY ")
    return ", ".join(sorted(roles[0].split(", "))) if whole else roles[0]


_RIGHTS = """
    SELECT held.object, grantee::regrole::text, privilege_type, is_grantable FROM (
        SELECT oid::regclass::text AS object,
            coalesce(relacl,
                acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner)) AS acl,
            relnamespace AS schema FROM pg_class WHERE relkind IN ('r', 'p', 'S')
        UNION ALL
        SELECT attrelid::regclass::text || '.' || attname, attacl, relnamespace
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE attacl IS NOT NULL
        UNION ALL
        SELECT oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)), pronamespace
        FROM pg_proc
        UNION ALL
        SELECT oid::regtype::text, coalesce(typacl, acldefault('T', typowner)), typnamespace
        FROM pg_type WHERE typtype IN ('d', 'e', 'r') OR typrelid IN
            (SELECT oid FROM pg_class WHERE relkind = 'c')
        UNION ALL
        SELECT oid::regnamespace::text, coalesce(nspacl, acldefault('n', nspowner)), oid
        FROM pg_namespace
    ) held CROSS JOIN LATERAL aclexplode(acl)
    WHERE schema::regnamespace::text !~ '^(pg_|information_schema)'
"""


def rights(url: str) -> set[tuple[str, str, str, bool]]:
    """What everybody (`-` is PUBLIC) may do with what: object, role, privilege, grantable."""
    return set(rows(url, _RIGHTS))


def psql(url: str, script: Path) -> None:
    """Run a script as a user would; fails with what psql said."""
    done = subprocess.run(
        [wheel_binaries(18) / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", script, url],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stderr


def find(statements: Sequence[Statement], kind: str, name: str) -> Statement:
    """The one statement of that kind and name."""
    (found,) = (s for s in statements if s.kind == kind and s.name == name)
    return found
