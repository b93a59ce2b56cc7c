"""What lies in the golden repository's folder, and how rows are compared with it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from convault.models import TableName
from convault.names import table_path

HOME = Path(__file__).parent
SUMS = "SHA256SUMS"
IDENTITY = HOME / "identity.txt"
"""It opens the encrypted ones of the golden backups, and nothing else in the world."""
SIGNING_KEY = sha256(b"signs the golden repository, and nothing else in the world").hexdigest()
MASK_KEY = "masks the golden repository, and nothing else in the world"
SETTINGS = (
    "SET TimeZone = 'UTC'; SET DateStyle = ISO; SET IntervalStyle = postgres;"
    " SET extra_float_digits = 3; SET bytea_output = hex; SET lc_monetary = 'C';"
    " SET search_path = ''"
)


def digests() -> dict[str, str]:
    """Of every file that belongs to the golden repository, by its path."""
    folders = (HOME / "repository", HOME / "expected", HOME / "filtered")
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(HOME).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted([*paths, HOME / "tars.json", IDENTITY])
    }


def expected_path(table: TableName, folder: str = "expected") -> Path:
    """Where the table's rows stand as text; in `filtered` those of the filtered backup."""
    return HOME / folder / f"{table_path(table).replace('/', '.')}.txt"


def rows_of(
    connection: psycopg.Connection[Any], table: TableName, query: sql.Composable | None = None
) -> bytes:
    """The table's rows, or those of a query, as COPY writes them, a line each, sorted by their
    bytes."""
    connection.execute(SETTINGS)
    every = sql.SQL("SELECT * FROM ONLY {}").format(sql.Identifier(*table))
    query = sql.SQL("COPY ({}) TO STDOUT").format(query or every)
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        lines = b"".join(map(bytes, copy)).splitlines(keepends=True)
    return b"".join(sorted(lines))
