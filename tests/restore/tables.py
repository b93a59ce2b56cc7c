"""Conversations with everything that a restore has to take care of."""

from __future__ import annotations

import psycopg

SQL = """
CREATE TYPE public.mood AS ENUM ('sad', 'it''s ok', '😀');
CREATE DOMAIN public.short AS character(4);
CREATE TABLE public.channels (id integer PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE public.conversations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel_id integer NOT NULL REFERENCES public.channels,
    parent_id bigint REFERENCES public.conversations DEFERRABLE INITIALLY DEFERRED,
    subject text, mood public.mood, code public.short, gone text,
    created_at timestamptz NOT NULL DEFAULT now());
ALTER TABLE public.conversations DROP COLUMN gone;
CREATE TABLE public.messages (
    id bigserial, conversation_id bigint NOT NULL REFERENCES public.conversations,
    sent_at timestamptz NOT NULL, body text, meta jsonb, tags text[],
    size integer GENERATED ALWAYS AS (coalesce(length(body), 0)) STORED,
    PRIMARY KEY (id, sent_at)) PARTITION BY RANGE (sent_at);
CREATE TABLE public.messages_old PARTITION OF public.messages
    FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE public.messages_new PARTITION OF public.messages
    FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
CREATE INDEX ON public.messages (conversation_id);
CREATE TABLE public."Odd ""Table" (
    "Conversation" bigint REFERENCES public.conversations, "a b" text, "c%d" float8);
CREATE TABLE public.notes (conversation_id bigint REFERENCES public.conversations, note text);
CREATE TABLE public.long_notes (extra numeric) INHERITS (public.notes);
ALTER TABLE public.long_notes ADD FOREIGN KEY (conversation_id) REFERENCES public.conversations;

INSERT INTO public.channels VALUES (1, 'e-mail'), (2, 'WhatsApp');
INSERT INTO public.conversations (channel_id, parent_id, subject, mood, code)
    SELECT 1 + n % 2, CASE WHEN n < 50 THEN n + 1 END, 'Olá ' || n,
        (enum_range(NULL::public.mood))[1 + n % 4], 'ab' FROM generate_series(1, 50) n;
INSERT INTO public.messages (conversation_id, sent_at, body, meta, tags)
    SELECT 1 + n % 50, '2023-06-01'::timestamptz + n * interval '4 hours',
        CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE repeat(E'tab\\t"é"\\\\.\\n😀', n % 40) END,
        jsonb_build_object('n', n, 'x', NULL), ARRAY[NULL, '', '{"a",b}', n::text]
    FROM generate_series(1, 4000) n;
DELETE FROM public.messages WHERE id % 7 = 0;
INSERT INTO public."Odd ""Table" VALUES
    (1, '\\N', 'NaN'), (NULL, NULL, '-0'), (2, '\\.', 5e-324);
INSERT INTO public.notes SELECT n, 'note ' || n FROM generate_series(1, 20) n;
INSERT INTO public.long_notes SELECT n, 'long ' || n, 'Infinity' FROM generate_series(1, 20) n;
"""

PARTS = 8
"""at least, of a backup by tests.restore.builder"""


def fill(url: str) -> None:
    """Make the tables in an empty database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL.encode())


BIG = """
CREATE TABLE public.channels (id integer PRIMARY KEY, name text);
INSERT INTO public.channels SELECT n, 'channel ' || n FROM generate_series(1, 5) n;
CREATE TABLE public.contacts (id bigint PRIMARY KEY, name text, phone text);
INSERT INTO public.contacts SELECT n, 'contact ' || md5(n::text), md5(n::text)
    FROM generate_series(1, %(contacts)s) n;
CREATE TABLE public.conversations (id uuid PRIMARY KEY, channel_id integer REFERENCES
    public.channels, contact_id bigint REFERENCES public.contacts, subject text);
INSERT INTO public.conversations SELECT md5(n::text)::uuid, 1 + n %% 5, n, 'subject ' || n
    FROM generate_series(1, %(conversations)s) n;
CREATE TABLE public.messages (id bigint PRIMARY KEY, conversation_id uuid REFERENCES
    public.conversations, reply_to bigint REFERENCES public.messages, sent_at timestamptz,
    body text, metadata jsonb);
INSERT INTO public.messages SELECT n, md5((1 + n %% %(conversations)s)::text)::uuid,
    CASE WHEN n > %(conversations)s AND n %% 9 = 0 THEN n - %(conversations)s END,
    '2024-01-01'::timestamptz + n * interval '1 minute',
    (SELECT string_agg(md5((n * 7 + k)::text), ' ') FROM generate_series(1, 5 + n %% 5) k),
    jsonb_build_object('n', n, 'client', 'whatsapp', 'read', n %% 2)
    FROM generate_series(1, %(messages)s) n;
"""
"""conversations of some messages each, interleaved over the whole time"""
