"""Databases to measure on: an embedded Postgres, its settings, and made-up conversations."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from convault.embedded.server import EmbeddedPostgres
from convault.installation import initialise
from convault.settings import Settings

SCHEMA = """
CREATE TABLE contacts (id bigint PRIMARY KEY, name text NOT NULL, email text);
CREATE TABLE conversations (id uuid PRIMARY KEY, contact_id bigint REFERENCES contacts,
    subject text, status text NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE messages (id bigint PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations, sender text NOT NULL, body text,
    metadata jsonb, created_at timestamptz NOT NULL, read_at timestamptz);
"""
INDEXES = "CREATE INDEX ON messages (conversation_id, created_at)"
FILL = """
CREATE TEMP TABLE sentences AS SELECT s AS n,
    (SELECT string_agg(substr(md5((hashint8extended(s, k) & 2047)::text), 1, 2 + k % 7), ' ')
     FROM generate_series(1, 12) k) AS sentence FROM generate_series(0, 19999) s;
CREATE UNIQUE INDEX ON sentences (n);
INSERT INTO contacts SELECT n, 'contact ' || n, md5(n::text) || '@example.org'
    FROM generate_series(0, {conversations} / 3) n;
INSERT INTO conversations SELECT md5('c' || n)::uuid, n / 3, 'subject ' || n,
    (ARRAY['open', 'closed'])[1 + n % 2], '2024-01-01'::timestamptz + n * interval '8 minutes'
    FROM generate_series(0, {conversations} - 1) n;
INSERT INTO messages SELECT i, md5('c' || greatest(0, least({conversations} - 1,
        (i / 30 + (random() - 0.5) * 200)::int)))::uuid,
    (ARRAY['agent', 'contact'])[1 + i % 2], concat_ws(' ', a.sentence, md5(i::text),
        md5('b' || i), b.sentence, md5('c' || i), md5('d' || i)),
    jsonb_build_object('channel', i % 5, 'id', md5(i::text)),
    '2024-01-01'::timestamptz + i * interval '16 seconds', NULL
    FROM generate_series(0, {messages} - 1) i
    JOIN sentences a ON a.n = (i::bigint * 7919) % 20000
    JOIN sentences b ON b.n = (i::bigint * 104729 + i / 20000) % 20000 ORDER BY i;
"""
"""A message belongs to one of the conversations of its days: `30` messages each."""

NEWEST = "UPDATE messages SET read_at = now() WHERE id >= {messages} - {messages} / 100"
NEW = """
INSERT INTO messages SELECT n.id + {messages} / 100, conversation_id, sender, body, metadata,
    created_at, NULL FROM messages n WHERE id > (SELECT max(id) FROM messages) - {messages} / 100
"""
SCATTERED = "UPDATE messages SET read_at = now() WHERE id % 100 = {number}"

_PORT = 5432
"""by which libpq's URLs name the server's Unix socket too"""
SERVER = {"shared_buffers": "512MB", "max_wal_size": "4GB", "autovacuum": "off"}
"""Settings of the server: as a small managed one has them; the same for all that is measured."""


@contextmanager
def cluster(folder: Path, binaries: Path | None) -> Iterator[EmbeddedPostgres]:
    """A server of its own, stopped and removed afterwards."""
    server = EmbeddedPostgres(folder / "cluster", binaries=binaries, options=dict(SERVER))
    server.start()
    try:
        yield server
    finally:
        server.destroy()


def by_tcp(server: EmbeddedPostgres, database: str) -> str | None:
    """Have the server listen on loopback as well, for what reaches no Unix socket: the URL of a
    role that may read, with a password that was made up. None where the port is taken."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", _PORT))
        except OSError:
            return None
    password = secrets.token_hex(16)
    execute(server.url(), f"CREATE ROLE peer LOGIN PASSWORD '{password}' IN ROLE pg_read_all_data")
    server.stop()
    rules = "local all all trust\nhost all peer 127.0.0.1/32 scram-sha-256\n"
    (server.data / "pg_hba.conf").write_text(rules)
    server.options["listen_addresses"] = "127.0.0.1"
    server.start()
    return f"postgresql://peer:{password}@127.0.0.1:{_PORT}/{database}"


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """A folder that is removed afterwards, which every user may pass through."""
    made = Path(tempfile.mkdtemp(prefix="convault-bench-", dir=folder))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def filled(server: EmbeddedPostgres, messages: int) -> str:
    """URL of a database with so many messages, indexed and vacuumed."""
    url = new_database(server, "app")
    fill(url, messages)
    return url


def fill(url: str, messages: int) -> None:
    """Make the tables and so many messages in an empty database."""
    execute(url, SCHEMA)
    execute(url, FILL.format(messages=messages, conversations=max(1, messages // 30)))
    execute(url, INDEXES)
    execute(url, "VACUUM ANALYZE")
    execute(url, "CHECKPOINT")


def heap_bytes(url: str) -> int:
    """Of the messages."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_relation_size('messages')").fetchone()
    assert row is not None
    return int(row[0])


def new_database(server: EmbeddedPostgres, name: str) -> str:
    """An empty database's URL; one of that name goes first."""
    execute(server.url(), f"DROP DATABASE IF EXISTS {name}")
    execute(server.url(), f"CREATE DATABASE {name} TEMPLATE template0")
    return server.url(name)


def execute(url: str, sql: str) -> None:
    """Run statements, each in a transaction of its own where one has to be."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.encode())


def installed(source: str, catalog: str, store: Path, **more: str) -> Settings:
    """Settings of a new installation, which is initialised, and set in this process's
    environment for the flow."""
    names = {"DATABASE_URL": source, "CONVAULT_CATALOG_URL": catalog,
             "CONVAULT_STORE_URL": store.as_uri(),
             "CONVAULT_SIGNING_KEY": os.urandom(32).hex(), **more}  # fmt: skip
    os.environ.update(names)
    store.mkdir(mode=0o700, parents=True)
    settings = Settings(**{name.lower(): value for name, value in names.items()})  # type: ignore[arg-type]
    initialise(settings)
    return settings


def stored(store: Path) -> int:
    """Bytes of all that lies in a folder."""
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
