"""A small application to back up: its tables, its repository, and the settings that name them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from convault.comparison import compare
from convault.embedded.server import EmbeddedPostgres
from convault.installation import Installation, initialise, open_installation
from convault.models import TableName
from convault.restore import restore
from convault.settings import Settings
from tests.databases import drop_database

SCHEMA = """
CREATE TABLE channels (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE conversations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel_id integer NOT NULL REFERENCES channels,
    subject text,
    created_at timestamptz NOT NULL
);
CREATE TABLE messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id bigint NOT NULL REFERENCES conversations,
    body text,
    seen boolean,
    price numeric,
    metadata jsonb,
    tags text[]
);
"""
ROWS = """
INSERT INTO channels VALUES (1, 'e-mail'), (2, 'whatsapp');
INSERT INTO conversations (channel_id, subject, created_at)
SELECT 1 + n %% 2, CASE WHEN n %% 7 > 0 THEN 'assunto ' || n END,
    '2026-01-01'::timestamptz + n * '1h'::interval
FROM generate_series(1, %(conversations)s) n;
INSERT INTO messages (conversation_id, body, seen, price, metadata, tags)
SELECT 1 + n %% %(conversations)s,
    CASE WHEN n %% 11 > 0 THEN repeat(md5(n::text), 1 + n %% 20) || E' olá "você"\\n\\t\\\\' END,
    CASE n %% 3 WHEN 0 THEN NULL WHEN 1 THEN true ELSE false END,
    n / 7.0, jsonb_build_object('n', n), ARRAY['a', NULL, 'ç ' || n]
FROM generate_series(1, %(messages)s) n;
"""


@dataclass(frozen=True)
class Application:
    """A database, a repository, and the environment that a run needs."""

    url: str
    store: Path
    environment: dict[str, str]

    @property
    def settings(self) -> Settings:
        return Settings(**{name.lower(): value for name, value in self.environment.items()})

    def installation(self) -> Installation:
        return open_installation(self.settings)

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement)  # type: ignore[call-overload]


def build(
    url: str, catalog_url: str, store: Path, *, conversations: int = 50, messages: int = 2000,
    **environment: str,
) -> Application:  # fmt: skip
    """Fill the empty database at `url`, and do what `convault init` does."""
    with psycopg.connect(url) as connection, psycopg.ClientCursor(connection) as cursor:
        cursor.execute(SCHEMA)
        cursor.execute(ROWS, {"conversations": conversations, "messages": messages})
    store.mkdir(mode=0o700)
    application = Application(
        url,
        store,
        {
            "DATABASE_URL": url,
            "CONVAULT_CATALOG_URL": catalog_url,
            "CONVAULT_STORE_URL": store.as_uri(),
            "CONVAULT_SIGNING_KEY": secrets.token_hex(32),
            **environment,
        },
    )
    initialise(application.settings)
    return application


def differences(application: Application, backup_id: object, target_url: str) -> dict[str, int]:
    """Restore a backup into the empty database at `target_url`; rows that differ, by table."""
    repository = application.installation().repository
    manifest = repository.manifest(backup_id)  # type: ignore[arg-type]
    restore(repository, manifest, target_url)
    tables: list[TableName] = [table.name for table in manifest.tables]
    return {
        str(found.table): found.only_in_source + found.only_in_target
        for found in compare(application.url, target_url, tables)
    }


@contextmanager
def database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """An empty database, for fixtures of a module; its URL."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield cluster.url(name)
    drop_database(cluster.url(), name)


@contextmanager
def held_back(url: str) -> Iterator[Callable[[], None]]:
    """No backup of the database at `url` gets beyond the locks of its tables, until the block ends
    or what it gives is called."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE public.messages IN ACCESS EXCLUSIVE MODE")
        yield connection.rollback
