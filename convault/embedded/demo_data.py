"""Made-up conversations of a school, with the habits of a real database.

Conversations overlap in time and messages lie in the order they were sent, so that a page of the
heap holds rows of many; lengths have a long tail and about 1 % of the messages reach into TOAST;
updates and deletes have left dead rows; a column was dropped and one was added later; events are
partitioned by month; `settings` belongs to no conversation. The same seed gives the same rows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from convault.embedded import demo_rows, demo_text
from convault.progress import report

DEFAULT_MESSAGES = 50_000

_HERE = Path(__file__).parent
_MARKER = "demo"
"""name of the row in `settings` that tells that the data is there"""

_Connection = psycopg.Connection[Any]


def fill(url: str, *, messages: int = DEFAULT_MESSAGES, seed: int = 1) -> None:
    """Create the tables in the empty database at `url` and fill them, in one transaction.

    Afterwards `messages` holds exactly that many rows (at least 1).
    """
    if messages < 1:
        raise ValueError(f"messages is {messages}, it must be at least 1")
    demo = demo_rows.DemoRows(messages, seed)
    with psycopg.connect(url) as connection:
        _run(connection, "demo_tables.sql")
        for month in demo_rows.EVENT_MONTHS:
            _add_partition(connection, month)
        for table, columns, rows in demo.tables():
            _copy(connection, table, columns, rows)
        _run(connection, "demo_keys.sql")
        _age(connection, sorted(demo.withdrawn))
        connection.execute(
            "INSERT INTO settings VALUES (%s, %s), ('theme', '\"green\"')",
            (_MARKER, json.dumps({"messages": messages, "seed": seed})),
        )
        connection.execute("ANALYZE")


def filled(url: str) -> int | None:
    """How many messages `fill` put into the database at `url`, or None if it did not."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('public.settings')").fetchone() == (None,):
            return None
        row = connection.execute(
            "SELECT (value->>'messages')::bigint FROM public.settings WHERE name = %s", (_MARKER,)
        ).fetchone()
    return int(row[0]) if row else None


def pass_a_day(url: str, *, seed: int = 1) -> int:
    """What a day does to filled tables: new messages in old conversations, edits, a few deletes.
    Returns the number of new messages, about 1 % of what is there."""
    with psycopg.connect(url) as connection:
        last, newest, count = connection.execute(
            "SELECT max(id), max(sent_at), count(*) FROM messages"
        ).fetchone() or (0, demo_rows.END, 0)
        rng = random.Random(f"{seed} {last}")
        conversations = connection.execute(
            "SELECT id, contact_id FROM conversations ORDER BY created_at DESC, id LIMIT 500"
        ).fetchall()
        new = max(1, int(count) // 100)
        moments = sorted(
            max(newest, demo_rows.END) + timedelta(days=rng.random()) for _ in range(new)
        )
        with connection.cursor() as cursor:
            cursor.executemany(
                "WITH sent AS ("
                " INSERT INTO messages (conversation_id, sender_id, direction, body, tags, sent_at)"
                " VALUES (%s, %s, 'inbound', %s, '{novo}', %s) RETURNING id, sent_at)"
                " INSERT INTO message_events (message_id, kind, occurred_at)"
                " SELECT id, 'received', sent_at FROM sent",
                [(*rng.choice(conversations), demo_text.body(rng, "pt"), t) for t in moments],
            )
        connection.execute(
            "UPDATE messages SET edited_at = sent_at + interval '1 hour', body = body || ' ✏️'"
            " WHERE id %% 211 = %s",
            (last % 211,),
        )
        connection.execute("DELETE FROM messages WHERE id %% 997 = %s", (last % 997,))
    return new


def _age(connection: _Connection, withdrawn: list[int]) -> None:
    """What years of use leave behind: dead rows, a dropped column, one that was added later."""
    connection.execute("DELETE FROM messages WHERE id = ANY(%s)", (withdrawn,))
    connection.execute(
        "UPDATE messages SET edited_at = sent_at + interval '95.5 seconds', body = body || ' (sic)'"
        " WHERE id % 9 = 4"
    )
    connection.execute("UPDATE conversations SET priority = NULL WHERE priority = 5")
    connection.execute("ALTER TABLE messages DROP COLUMN legacy_folder")
    connection.execute("ALTER TABLE conversations DROP COLUMN legacy_ticket")
    connection.execute("ALTER TABLE messages ADD COLUMN archived boolean NOT NULL DEFAULT false")
    for table in ("channels", "contacts", "messages"):
        connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
        )


def _add_partition(connection: _Connection, month: datetime) -> None:
    after = (month + timedelta(days=31)).replace(day=1)
    connection.execute(
        f"CREATE TABLE message_events_{month:%Y_%m} PARTITION OF message_events"
        f" FOR VALUES FROM ('{month:%Y-%m-%d} 00:00+00') TO ('{after:%Y-%m-%d} 00:00+00')"
    )


def _run(connection: _Connection, file: str) -> None:
    script = (_HERE / file).read_text(encoding="utf-8")
    connection.execute(script)


def _copy(
    connection: _Connection, table: str, columns: Sequence[str], rows: Iterable[demo_rows.Row]
) -> None:
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
    done = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            if done % 1000 == 0:
                report("fill", table, done=done)
            copy.write_row(row)
            done += 1
