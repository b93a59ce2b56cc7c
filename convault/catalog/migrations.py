"""The tables of the catalog: `supabase/migrations/*.sql`, applied in the order of their names.

Each file may be applied again without harm, so a file whose text changed is applied again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import psycopg

from convault.catalog.connection import Connection, connected
from convault.catalog.locks import one_at_a_time
from convault.errors import CatalogError, ConfigurationError

FOLDER = Path(__file__).resolve().parents[2] / "supabase" / "migrations"
"""Convault runs from its checkout (`pip install -e .`), and they lie beside the package there."""


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
    return [m for m in migrations(folder) if applied.get(m.name) != m.sha256]


def migrate(url: str, folder: Path = FOLDER) -> list[str]:
    """Apply what is missing, one transaction each; their names. Two at once are safe.

    CatalogError when the role may not, or when rows of an existing table cannot be taken over.
    """
    done = []
    with one_at_a_time(url, "migration of the catalog"), connected(url) as connection:
        for migration in missing(connection, folder):
            _apply(connection, migration)
            done.append(migration.name)
    return done


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
