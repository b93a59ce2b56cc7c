"""Conversations that REST can describe: every key has one column. Random rows, random filters."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import psycopg

from convault.dataset.scope import Scope, scope_of
from convault.models import BackupOptions
from convault.settings import Settings

TABLES = """
CREATE TABLE people (id bigint PRIMARY KEY, name text);
CREATE TABLE boards (id smallint PRIMARY KEY, above smallint REFERENCES boards);
CREATE TABLE tickets (id uuid PRIMARY KEY, channel_id smallint REFERENCES boards, status text,
    created_at timestamptz, parent uuid REFERENCES tickets, code text UNIQUE);
CREATE TABLE notes (id bigint PRIMARY KEY, ticket uuid REFERENCES tickets,
    author bigint REFERENCES people, reply bigint REFERENCES notes, media_url text);
CREATE TABLE message_attachments (id bigint PRIMARY KEY, note bigint REFERENCES notes, bucket text,
    path text);
ALTER TABLE tickets ADD last bigint REFERENCES notes;
CREATE TABLE ticket_members (id text PRIMARY KEY, by_code text REFERENCES tickets (code),
    person_id integer REFERENCES people);
CREATE TABLE answers (id integer PRIMARY KEY, ticket uuid NOT NULL REFERENCES tickets,
    to_answer integer REFERENCES answers);
CREATE TABLE memos (id integer PRIMARY KEY, ticket uuid);
CREATE TABLE scans (note bigint REFERENCES notes, ticket uuid REFERENCES tickets,
    "is" boolean, n integer, PRIMARY KEY (n, "is"));
"""
"""`scans` belong to their ticket, and only without one to the ticket of their note."""

ROOT = {
    "convault_root_table": "tickets",
    "convault_messages_table": "notes",
    "convault_relations": "memos.ticket -> tickets.id",
}
"""`memos` name their ticket, and no foreign key says so."""
URLS = [
    "https://abc.supabase.co/storage/v1/object/public/media/a%20b.txt",
    "https://abc.supabase.co/storage/v1/object/sign/media/c.txt?token=x",
    "https://elsewhere.example/d.txt", "javascript:alert(1)", "",
    "https://abc.supabase.co/storage/v1/object/public/backups/convault/x",
]  # fmt: skip
_STATUS = ["open", "closed", 'it\'s "a, b"', "(x)", ""]


def make(connection: psycopg.Connection) -> None:
    """Some hundred rows; replies, last notes and parents lead across tickets."""
    chance = random.Random(5)

    def some(values: list[Any], share: float = 1.0) -> Any:
        return chance.choice(values) if chance.random() < share else None

    uuids = [f"{chance.getrandbits(128):032x}" for _ in range(30)]
    connection.execute(TABLES.encode())
    rows: dict[str, list[tuple[Any, ...]]] = {
        "people": [(n, f"p {n}") for n in range(20)],
        "boards": [(n, some(list(range(n)), 0.5) if n else None) for n in range(6)],
        "tickets": [
            (own, some(list(range(6)), 0.9), some(_STATUS, 0.9),
             f"2026-01-{1 + n % 20:02} {n % 24:02}:30:00+00" if n % 9 else None,
             some(uuids[:n], 0.2) if n else None, f"code,{n}.")
            for n, own in enumerate(uuids)
        ],
        "notes": [
            (n, some(uuids, 0.9), some(list(range(20)), 0.8), some(list(range(n)), 0.1),
             some(URLS, 0.5))
            if n else (n, None, None, None, "")
            for n in range(150)
        ],
        "message_attachments": [
            (n, chance.randrange(150), some(["media", "odd bucket", None]), f"p/{n % 30}.txt")
            for n in range(60)
        ],
        "ticket_members": [
            (f"m{n}", f"code,{chance.randrange(30)}.", chance.randrange(20)) for n in range(40)
        ],
        "answers": [(n, some(uuids), some(list(range(n)), 0.3) if n else None) for n in range(60)],
        "memos": [(n, some(uuids)) for n in range(40)],
        "scans": [
            (some(list(range(150)), 0.8), some(uuids, 0.4), n % 2 == 0, n // 2) for n in range(90)
        ],
    }  # fmt: skip
    with connection.cursor() as cursor:
        for table, values in rows.items():
            places = ", ".join(["%s"] * len(values[0]))
            columns = {
                "tickets": "(id, channel_id, status, created_at, parent, code)",
                "notes": "(id, ticket, author, reply, media_url)",
            }.get(table, "")
            cursor.executemany(f"INSERT INTO {table} {columns} VALUES ({places})".encode(), values)
        cursor.execute(
            "UPDATE tickets SET last = (SELECT max(id) FROM notes WHERE ticket <> tickets.id"
            " AND id % 7 = length(code) % 7) WHERE channel_id < 3"
        )


def wanted(options: dict[str, Any]) -> Scope:
    """What `options`, as the API takes them, ask for."""
    return scope_of(Settings(**ROOT), BackupOptions.parse(options))  # type: ignore[arg-type]


def options(url: str, number: int, seed: int) -> list[dict[str, Any]]:
    """Some random filters, alone and together."""
    chance = random.Random(seed)
    with closing(psycopg.connect(url)) as connection:
        ids = [i for (i,) in connection.execute("SELECT id::text FROM tickets ORDER BY 1")]
    nobody = "0b6f4e0e-6a3e-4f39-9d4c-2f1c8b7f5a10"
    possible: dict[str, Any] = {
        "conversationIds": lambda: [nobody.upper(), *chance.sample(ids, chance.randint(1, 12))],
        "status": lambda: chance.sample(_STATUS[:4], chance.randint(1, 3)),
        "channelIds": lambda: chance.sample(range(6), chance.randint(1, 4)),
        "participantIds": lambda: chance.sample(range(25), chance.randint(1, 5)),
        "startDate": lambda: f"2026-01-{chance.randint(1, 20):02}",
        "endDate": lambda: f"2026-02-{chance.randint(1, 20):02}T10:00:00Z",
    }
    turns = [["conversationIds"], ["participantIds"], ["status", "startDate"],
             ["channelIds", "endDate"], ["participantIds", "status"]]  # fmt: skip
    while len(turns) < number:
        turns.append(chance.sample(sorted(possible), chance.randint(1, 3)))
    return [{name: possible[name]() for name in names} for names in turns[:number]]
