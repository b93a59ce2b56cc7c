"""Conversations tied together in every way, and which rows of them a filter should give: by queries
written by hand."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import psycopg

from convault.dataset.scope import Scope, scope_of
from convault.models import BackupOptions
from convault.settings import Settings
from convault.sources.postgres import PostgresSource
from tests.sources.reading import read_all

TABLES = """
CREATE TABLE channels (id integer PRIMARY KEY, parent_id integer REFERENCES channels);
CREATE TABLE contacts (id bigint PRIMARY KEY, name text);
CREATE TABLE conversations (
    id uuid PRIMARY KEY, channel_id integer REFERENCES channels, status text,
    created_at timestamptz, parent_id uuid REFERENCES conversations,
    last_id bigint, last_at date);
CREATE TABLE conversation_participants (
    id text PRIMARY KEY, conversation_id uuid NOT NULL REFERENCES conversations,
    contact_id bigint NOT NULL REFERENCES contacts);
CREATE TABLE messages (
    id bigint, sent_at date, conversation_id uuid NOT NULL REFERENCES conversations,
    sender_id bigint REFERENCES contacts, reply_to bigint, reply_at date, body text,
    PRIMARY KEY (id, sent_at), FOREIGN KEY (reply_to, reply_at) REFERENCES messages
) PARTITION BY RANGE (sent_at);
CREATE TABLE messages_old PARTITION OF messages FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE messages_new PARTITION OF messages FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
ALTER TABLE conversations ADD FOREIGN KEY (last_id, last_at) REFERENCES messages;
CREATE TABLE attachments (
    id bigint PRIMARY KEY, message_id bigint, message_at date,
    conversation_id uuid REFERENCES conversations,
    FOREIGN KEY (message_id, message_at) REFERENCES messages);
CREATE TABLE comments (
    id bigint PRIMARY KEY, conversation_id uuid REFERENCES conversations,
    parent_id bigint REFERENCES comments);
CREATE TABLE notes (id bigint PRIMARY KEY, conversation_id uuid REFERENCES conversations);
CREATE TABLE long_notes (more text) INHERITS (notes);
ALTER TABLE long_notes ADD FOREIGN KEY (conversation_id) REFERENCES conversations;
CREATE TABLE scans (id bigint PRIMARY KEY, attachment_id bigint NOT NULL REFERENCES attachments);
CREATE TABLE campaigns (id bigint PRIMARY KEY, channel_id integer REFERENCES channels);
"""

_NEEDED = """
WITH RECURSIVE own_messages (id, sent_at) AS (
    SELECT m.id, m.sent_at FROM messages m JOIN chosen c ON c.id = m.conversation_id
), own_attachments (id) AS (
    SELECT a.id FROM attachments a WHERE a.conversation_id IN (TABLE chosen)
        OR a.conversation_id IS NULL AND (a.message_id, a.message_at) IN (TABLE own_messages)
), own_comments (id) AS (
    SELECT id FROM comments WHERE conversation_id IN (TABLE chosen)
    UNION SELECT c.id FROM comments c JOIN own_comments o ON c.parent_id = o.id
    WHERE c.conversation_id IS NULL
), needed (kind, id) AS (
    (SELECT 'conversation', id::text FROM chosen
     UNION ALL SELECT 'message', id::text FROM own_messages
     UNION ALL SELECT 'attachment', id::text FROM own_attachments
     UNION ALL SELECT 'comment', id::text FROM own_comments)
    UNION
    SELECT x.kind, x.id FROM needed n CROSS JOIN LATERAL (
        SELECT 'conversation', c.parent_id::text FROM conversations c
        WHERE n.kind = 'conversation' AND c.id::text = n.id
        UNION ALL SELECT 'message', c.last_id::text FROM conversations c
        WHERE n.kind = 'conversation' AND c.id::text = n.id
        UNION ALL SELECT 'conversation', m.conversation_id::text FROM messages m
        WHERE n.kind = 'message' AND m.id::text = n.id
        UNION ALL SELECT 'message', m.reply_to::text FROM messages m
        WHERE n.kind = 'message' AND m.id::text = n.id
        UNION ALL SELECT 'conversation', a.conversation_id::text FROM attachments a
        WHERE n.kind = 'attachment' AND a.id::text = n.id
        UNION ALL SELECT 'message', a.message_id::text FROM attachments a
        WHERE n.kind = 'attachment' AND a.id::text = n.id
        UNION ALL SELECT 'conversation', c.conversation_id::text FROM comments c
        WHERE n.kind = 'comment' AND c.id::text = n.id
        UNION ALL SELECT 'comment', c.parent_id::text FROM comments c
        WHERE n.kind = 'comment' AND c.id::text = n.id
    ) x (kind, id) WHERE x.id IS NOT NULL
)
"""
"""What belongs to a conversation says so itself; only what names no conversation belongs where its
message or its parent does. Then, from there, whatever any of it refers to."""

EXPECTED = {
    "conversations": f"{_NEEDED} SELECT id FROM needed WHERE kind = 'conversation'",
    "messages": f"{_NEEDED} SELECT id FROM needed WHERE kind = 'message'",
    "attachments": f"{_NEEDED} SELECT id FROM own_attachments",
    "comments": f"{_NEEDED} SELECT id FROM needed WHERE kind = 'comment'",
    "scans": f"{_NEEDED} SELECT id FROM scans WHERE attachment_id IN (TABLE own_attachments)",
    "conversation_participants": "SELECT p.id FROM conversation_participants p"
    " JOIN chosen c ON c.id = p.conversation_id",
    "notes": "SELECT id FROM ONLY notes WHERE conversation_id IN (TABLE chosen)",
    "long_notes": "SELECT id FROM long_notes WHERE conversation_id IN (TABLE chosen)",
    "contacts": f"""{_NEEDED} SELECT contact_id FROM conversation_participants
        WHERE conversation_id IN (TABLE chosen)
        UNION SELECT m.sender_id FROM messages m JOIN needed n
        ON n.kind = 'message' AND n.id = m.id::text WHERE m.sender_id IS NOT NULL""",
    "channels": f"""{_NEEDED}, above (id) AS (
            SELECT c.channel_id FROM conversations c JOIN needed n
            ON n.kind = 'conversation' AND n.id = c.id::text
            UNION SELECT c.parent_id FROM channels c JOIN above ON c.id = above.id
        ) SELECT id FROM above WHERE id IS NOT NULL""",
}
"""By table, the ids of the rows that a filter should give; `chosen` holds the conversations that
match."""


def fill(url: str, seed: int, *, conversations: int = 40, messages: int = 300) -> None:
    """Make the tables and random rows: replies and last messages lead across conversations."""
    chance = random.Random(seed)

    def some(values: list[Any], share: float = 1.0) -> Any:
        return chance.choice(values) if chance.random() < share else None

    uuids = [str(chance.getrandbits(128).to_bytes(16).hex()) for _ in range(conversations)]
    days = [f"2025-12-{20 + n % 12}" if n % 3 else f"2026-01-{1 + n % 28:02}" for n in range(60)]
    said = [(n, chance.choice(days)) for n in range(messages)]
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(TABLES.encode())
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO channels VALUES (%s, %s)",
                [(n, some(list(range(n)), 0.5) if n else None) for n in range(8)],
            )
            cursor.executemany(
                "INSERT INTO contacts VALUES (%s, %s)", [(n, f"contact {n}") for n in range(30)]
            )
            cursor.executemany(
                "INSERT INTO conversations VALUES (%s, %s, %s, %s, %s)",
                [
                    (own, some(list(range(8)), 0.9), some(["open", "closed", "it's \"%s\""], 0.9),
                     f"2026-01-{1 + n % 28:02} {n % 24:02}:30:00+00" if n % 9 else None,
                     some(uuids[:n], 0.2) if n else None)
                    for n, own in enumerate(uuids)
                ],
            )  # fmt: skip
            cursor.executemany(
                "INSERT INTO messages VALUES (%s, %s, %s, %s, %s, %s, repeat(%s, 40))",
                [
                    (*said[n], some(uuids), some(list(range(30)), 0.8),
                     *(some(said[:n], 0.15) or (None, None) if n else (None, None)), f"message {n}")
                    for n in range(messages)
                ],
            )  # fmt: skip
            for own in uuids:
                last = some(said, 0.4)
                if last:
                    cursor.execute(
                        "UPDATE conversations SET last_id = %s, last_at = %s WHERE id = %s",
                        (*last, own),
                    )
            cursor.executemany(
                "INSERT INTO conversation_participants VALUES (%s, %s, %s)",
                [(f"p{n}", some(uuids), some(list(range(30)))) for n in range(60)],
            )
            cursor.executemany(
                "INSERT INTO attachments VALUES (%s, %s, %s, %s)",
                [
                    (n, *(some(said, 0.8) or (None, None)), some(uuids, 0.4)) for n in range(120)
                ],
            )  # fmt: skip
            cursor.executemany(
                "INSERT INTO comments VALUES (%s, %s, %s)",
                [
                    (n, some(uuids, 0.5), some(list(range(n)), 0.6) if n else None)
                    for n in range(100)
                ],
            )
            for table in ("notes", "long_notes"):
                cursor.executemany(
                    f"INSERT INTO {table} VALUES (%s, %s)".encode(),
                    [(n, some(uuids, 0.9)) for n in range(40)],
                )
            cursor.executemany(
                "INSERT INTO scans VALUES (%s, %s)",
                [(n, some(list(range(120)))) for n in range(50)],
            )
            cursor.execute("INSERT INTO campaigns SELECT n, n FROM generate_series(0, 7) n")


def wanted(options: dict[str, Any], **settings: str) -> Scope:
    """What `options`, as the API takes them, and settings ask for."""
    return scope_of(Settings(**settings), BackupOptions.parse(options))  # type: ignore[arg-type]


def source_of(url: str, options: dict[str, Any], **settings: str) -> PostgresSource:
    return PostgresSource(url, scope=wanted(options, **settings), lock_timeout=10)


def selected(url: str, options: dict[str, Any], **settings: str) -> dict[str, set[str]]:
    """The first column of every row that a backup would hold, by table; of the partitions of
    messages together. Counts are checked, and that no row comes twice."""
    with source_of(url, options, **settings).snapshot() as snapshot:
        rows = read_all(snapshot)
    found: dict[str, list[str]] = {}
    for table, values in rows.items():
        found.setdefault(table.removesuffix("_old").removesuffix("_new"), []).extend(
            str(row[0]) for row in values
        )
    for table, ids in found.items():
        assert len(set(ids)) == len(ids), table
    return {table: set(ids) for table, ids in found.items()}


def expected(url: str, chosen: str) -> dict[str, set[str]]:
    """The same by the queries above; `chosen` selects the ids of the conversations that match."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("SET jit = off")  # it compiles for longer than it runs
        connection.execute(f"CREATE TEMPORARY TABLE chosen AS {chosen}".encode())
        return {
            table: {str(row[0]) for row in connection.execute(query.encode())}
            for table, query in EXPECTED.items()
        }
