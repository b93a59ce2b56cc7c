"""A school's conversations, with what nobody wants in a backup: each value of it is a canary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import psycopg

from convault.dataset.masking import MaskKey
from convault.dataset.scope import Scope
from convault.manifest import Manifest
from convault.models import BackupFormat, TableName
from convault.repository import Repository
from convault.restore import RestoreResult, restore
from convault.sources.postgres import PostgresSource
from convault.stores import open_store
from tests.restore.builder import CONVERSATIONS, MESSAGES, back_up

KEY = b"a key of sixteen bytes or more"

SQL = """
CREATE SCHEMA crm;
CREATE TABLE public.channels (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE crm.contacts (
    id integer PRIMARY KEY, name text NOT NULL, email text UNIQUE, phone varchar(64),
    token uuid, score integer, note text DEFAULT 'none',
    shout text GENERATED ALWAYS AS (upper(name)) STORED);
CREATE TABLE public.conversations (
    id integer PRIMARY KEY, channel_id integer REFERENCES public.channels,
    contact_id integer REFERENCES crm.contacts, reply_to text, subject text);
CREATE TABLE public.messages (
    id integer, conversation_id integer NOT NULL REFERENCES public.conversations,
    sent_at date NOT NULL, body text, sender text, PRIMARY KEY (id, sent_at))
    PARTITION BY RANGE (sent_at);
CREATE TABLE public.messages_old PARTITION OF public.messages
    FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE public.messages_new PARTITION OF public.messages
    FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE TABLE public.audits (id integer PRIMARY KEY,
    conversation_id integer REFERENCES public.conversations, what text);
CREATE TABLE public.audit_details (audit_id integer REFERENCES public.audits, what text);
CREATE TABLE public.ratings (conversation_id integer REFERENCES public.conversations,
    audit_id integer REFERENCES public.audits, stars integer);

INSERT INTO public.channels VALUES (1, 'mail'), (2, 'chat');
INSERT INTO crm.contacts (id, name, email, phone, token, score, note)
    SELECT n, 'canaryname' || n, CASE WHEN n > 1 THEN 'canarymail' || n || '@example.org' END,
        'canaryphone' || n % 3, md5(n::text)::uuid, n, 'canarynote' || n
    FROM generate_series(1, 9) n;
INSERT INTO public.conversations
    SELECT n, 1 + n % 2, 1 + n % 9, 'canarymail' || 1 + n % 9 || '@example.org', 'subject ' || n
    FROM generate_series(1, 12) n;
INSERT INTO public.messages
    SELECT n, 1 + n % 12, '2025-12-01'::date + n, 'canarybody' || n, 'canaryname' || 1 + n % 9
    FROM generate_series(1, 60) n;
INSERT INTO public.audits SELECT n, 1 + n % 12, 'canaryaudit' || n FROM generate_series(1, 24) n;
INSERT INTO public.audit_details SELECT n, 'canarydetail' || n FROM generate_series(1, 24) n;
INSERT INTO public.ratings SELECT 1 + n % 12, n, n % 5 FROM generate_series(1, 12) n;
"""


def fill(url: str, more: str = "") -> None:
    """Make the school in an empty database, and whatever else a test needs."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((SQL + more).encode())


def scope(
    *,
    tables: Sequence[str] = (),
    columns: Sequence[str] = (),
    masks: dict[str, Any] | None = None,
    users: bool = False,
) -> Scope:
    return Scope(
        CONVERSATIONS,
        MESSAGES,
        exclude_tables=tuple(tables),
        exclude_columns=tuple(columns),
        mask_columns=tuple((masks or {}).items()),
        mask_key=MaskKey(KEY),
        include_users=users,
    )


def source(url: str, asked: Scope) -> PostgresSource:
    return PostgresSource(url, scope=asked, lock_timeout=10)


def in_memory() -> Repository:
    return Repository.create(open_store(f"memory://{uuid4().hex}"))


def carried_over(
    url: str, target: str, asked: Scope, format: BackupFormat = BackupFormat.JSON
) -> tuple[Manifest, RestoreResult]:
    """Backed up, its manifest written and read again, and restored."""
    repository = in_memory()
    written = back_up(repository, url, scope=asked, format=format)
    manifest = Manifest.from_bytes(written.to_bytes(), where="here")
    assert manifest == written
    return manifest, restore(repository, manifest, target)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def names(manifest: Manifest) -> set[str]:
    return {str(table.name) for table in manifest.tables}


def entry(manifest: Manifest, name: str) -> Any:
    """The manifest's table of that name, `schema.table`."""
    schema, _, table = name.partition(".")
    return next(t for t in manifest.tables if t.name == TableName(schema, table))
