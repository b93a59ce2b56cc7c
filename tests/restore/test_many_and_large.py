"""Rows of 10 MB, a hundred of them on one page, and a thousand tables: there and back."""

from __future__ import annotations

import psycopg
import pytest

from convault.models import BackupFormat
from convault.repository import Repository
from convault.restore import restore
from tests.restore.builder import back_up
from tests.restore.except_all import differences
from tests.soak import count

BASE = """
    CREATE TABLE public.conversations (id integer PRIMARY KEY);
    INSERT INTO public.conversations VALUES (1);
    CREATE TABLE public.messages (of integer REFERENCES public.conversations, body text);
"""
LARGE_ROWS = count(3, 100)
TABLES = count(60, 1000)


@pytest.mark.soak
@pytest.mark.parametrize("format", list(BackupFormat))
def test_rows_of_10_mb_on_one_page_come_back(
    database: str, target: str, repository: Repository, format: BackupFormat
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(BASE.encode())
        # Beside the page as they are: compressed they would be small.
        connection.execute("ALTER TABLE messages ALTER body SET STORAGE EXTERNAL")
        connection.execute(
            "INSERT INTO messages SELECT 1, repeat(chr(8364) || n || E',\\n\"', 10000000 / 7)"
            " FROM generate_series(1, %s) n", (LARGE_ROWS,),
        )  # fmt: skip
        row = connection.execute(
            "SELECT pg_relation_size('messages') = current_setting('block_size')::int,"
            " min(octet_length(body)) FROM messages"
        ).fetchone()
    assert row is not None
    assert row[0]
    assert row[1] > 9_900_000
    manifest = back_up(repository, database, format=format, part_bytes=32 << 20)
    (messages,) = (table for table in manifest.tables if table.name.name == "messages")
    assert sum(part.rows for part in messages.parts) == LARGE_ROWS
    assert all(part.plain_bytes <= 32 << 20 for part in messages.parts)
    restore(repository, manifest, target)
    assert differences(database, target, [messages.name]) == {}


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_many_tables_come_back(database: str, target: str, repository: Repository) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(BASE.encode())
        for first in range(0, TABLES, 50):
            connection.execute(
                "".join(
                    f"CREATE TABLE public.t{n} (id serial PRIMARY KEY,"
                    f" of integer REFERENCES public.conversations, t text DEFAULT 'x{n}');"
                    f"INSERT INTO public.t{n} (of) SELECT 1 FROM generate_series(1, {n % 3});"
                    for n in range(first, min(first + 50, TABLES))
                ).encode()
            )
    manifest = back_up(repository, database)
    assert len(manifest.tables) == TABLES + 2
    result = restore(repository, manifest, target)
    assert sum(result.rows.values()) == 1 + sum(n % 3 for n in range(TABLES))
    assert differences(database, target, [table.name for table in manifest.tables]) == {}
