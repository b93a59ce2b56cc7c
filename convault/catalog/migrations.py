"""The tables of the catalog: `supabase/migrations/*.sql`, applied in the order of their names.

Each file may be applied again without harm, so a file whose text changed is applied again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psycopg

from convault.catalog.connection import Connection, connected
from convault.catalog.locks import one_at_a_time
from convault.errors import CatalogError, CatalogTooNew, ConfigurationError

FOLDER = Path(__file__).resolve().parents[2] / "supabase" / "migrations"
"""Convault runs from its checkout (`pip install -e .`), and they lie beside the package there."""
RIGHTS = "20261125235900_rights"
"""who may do what over the Data API; it comes after every other file, whatever is applied again"""


class Migration(NamedTuple):
    """One file."""

    name: str
    sql: bytes
    sha256: str


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """All of them, oldest first. ConfigurationError when the folder or its files are not there."""
    files = sorted(folder.glob("*.sql"))
    if not files:
        raise ConfigurationError(
            f"There are no SQL files in {folder}. Convault runs from its checkout: install it with "
            "`pip install -e .` in a complete clone."
        )
    contents = [(path.stem, path.read_bytes()) for path in files]
    return [Migration(name, sql, hashlib.sha256(sql).hexdigest()) for name, sql in contents]


def missing(connection: Connection, folder: Path = FOLDER) -> list[Migration]:
    """Those that this database has not seen, or has seen with another text."""
    row = connection.execute("SELECT to_regclass('public.convault_migrations')::text").fetchone()
    applied: dict[str, str] = {}
    if row is not None and row[0] is not None:
        rows = connection.execute("SELECT name, sha256 FROM public.convault_migrations").fetchall()
        applied = dict(rows)
    names = names_missing(applied, folder)
    return [m for m in migrations(folder) if m.name in names]


def names_missing(applied: Mapping[str, str], folder: Path = FOLDER) -> list[str]:
    """Names of the files that are not among `applied` (SHA-256 by name), oldest first.
    CatalogTooNew when others than these were applied: the catalog is a newer version's."""
    known = {m.name for m in migrations(folder)}
    newer = sorted(name for name in applied if name not in known)
    if newer:
        raise CatalogTooNew(
            f"The catalog was made by a newer version of Convault ({', '.join(newer)}); this one "
            "might write what the newer one misreads. Nothing was changed. Use that version again, "
            "or put back the copy of the database that you made before it.",
            migration=newer[-1],
        )
    return [m.name for m in migrations(folder) if applied.get(m.name) != m.sha256]


def script(folder: Path = FOLDER) -> str:
    """All files as one SQL script that also writes down that they are applied, for whoever applies
    them otherwise than `migrate`; it may be run again without harm."""
    lines = [
        "-- The tables of Convault's catalog, with everything that they need. May be run again.\n"
    ]
    for migration in sorted(migrations(folder), key=lambda m: (m.name == RIGHTS, m.name)):
        # Names and digests are made of letters, digits and `_`: see the test of the layout.
        lines.append(
            f"-- {migration.name}\n\n{migration.sql.decode().rstrip()}\n\n"
            "INSERT INTO public.convault_migrations (name, sha256)\n"
            f"VALUES ('{migration.name}', '{migration.sha256}')\n"
            "ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256, applied_at = now();\n"
        )
    return "\n".join(lines)


def migrate(url: str, folder: Path = FOLDER) -> list[str]:
    """Apply what is missing, one transaction each; their names. Two at once are safe.

    CatalogError when the role may not, or when rows of an existing table cannot be taken over.
    """
    done = []
    with one_at_a_time(url, "migration of the catalog"), connected(url) as connection:
        for migration in missing(connection, folder):
            _apply(connection, migration)
            done.append(migration.name)
        if done != [] or _roles_came_since(connection):
            rights = [m for m in migrations(folder) if m.name == RIGHTS]
            # A file that was applied again takes rights away, and a new table has none yet.
            for migration in rights:
                if done[-1:] != [RIGHTS]:
                    _apply(connection, migration)
    return done


def _roles_came_since(connection: Connection) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = 'service_role'"
        " AND NOT has_table_privilege(r.oid, 'public.backups', 'INSERT'))"
    ).fetchone()
    return row is not None and bool(row[0])


def _apply(connection: Connection, migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.sql)
            connection.execute(
                "INSERT INTO public.convault_migrations (name, sha256) VALUES (%s, %s) ON CONFLICT"
                " (name) DO UPDATE SET sha256 = excluded.sha256, applied_at = now()",
                [migration.name, migration.sha256],
            )
    except (psycopg.errors.NotNullViolation, psycopg.errors.CheckViolation) as error:
        what = error.diag.column_name or error.diag.constraint_name
        raise CatalogError(
            f"The table public.{error.diag.table_name} is there already, and holds rows that the "
            f"migration {migration.name} cannot take over ({what}). Nothing was changed: rename "
            "that table, or put its rows right, and run `convault init` again.",
            migration=migration.name,
        ) from None
