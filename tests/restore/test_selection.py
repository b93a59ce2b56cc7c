"""Some of a backup: conversations, tables, a stretch of time, and what these reference."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

import polars as pl
import psycopg
import pytest

from convault.embedded.server import EmbeddedPostgres
from convault.encryption.objects import Encryptor
from convault.errors import IntegrityError, NotFoundError, OptionsError
from convault.manifest import Manifest
from convault.models import BackupFormat
from convault.repository import Repository
from convault.restore import RestoreOptions, RestoreResult, restore
from convault.stores import open_store
from tests.encryption.keys import new_key
from tests.restore.builder import back_up
from tests.restore.counting import CountingStore
from tests.restore.tables import BIG
from tests.restore.test_index import TABLES
from tests.soak import count

WANTED = "md5('7')::uuid"
MORE = """
CREATE TABLE public.contacts (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO public.contacts SELECT n, 'contact ' || n FROM generate_series(1, 5000) n;
ALTER TABLE public.conversations ADD COLUMN contact_id integer REFERENCES public.contacts,
    ADD COLUMN created_at timestamptz;
UPDATE public.conversations c SET contact_id = 4321 - n, created_at = '2024-01-01'::date + n
    FROM generate_series(1, 60) n WHERE c.id = md5(n::text)::uuid;
ALTER TABLE public.messages ADD COLUMN reply_to bigint, ADD COLUMN reply_at date,
    ADD FOREIGN KEY (reply_to, reply_at) REFERENCES public.messages (id, sent_at);
-- A message of the conversation answers one of another, which answers one of a third.
UPDATE public.messages m SET reply_to = o.id, reply_at = o.sent_at FROM public.messages o
    WHERE m.id = 7 AND o.id = 8 OR m.id = 8 AND o.id = 15999;
"""

CLOSURE = f"""
WITH RECURSIVE chosen AS (SELECT id, sent_at, reply_to, reply_at FROM public.messages
        WHERE conversation_id = {WANTED}
    UNION SELECT m.id, m.sent_at, m.reply_to, m.reply_at FROM public.messages m
        JOIN chosen c ON (m.id, m.sent_at) = (c.reply_to, c.reply_at))
SELECT 'messages', id::text FROM chosen
UNION ALL SELECT 'attachments', a.id::text FROM public.attachments a JOIN public.messages m
    ON (m.id, m.sent_at) = (a.message_id, a.message_at) WHERE m.conversation_id = {WANTED}
UNION ALL SELECT 'scans', s.attachment_id::text FROM public.scans s
    JOIN public.attachments a ON a.id = s.attachment_id
    JOIN public.messages m ON (m.id, m.sent_at) = (a.message_id, a.message_at)
    WHERE m.conversation_id = {WANTED}
ORDER BY 1, 2
"""
HELD = """
SELECT 'messages', id::text FROM public.messages UNION ALL
SELECT 'attachments', id::text FROM public.attachments UNION ALL
SELECT 'scans', attachment_id::text FROM public.scans ORDER BY 1, 2
"""


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def source(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TABLES.encode())
        connection.execute(MORE.encode())
    return database


def selected(
    repository: Repository, manifest: Manifest, target: str, **options: object
) -> RestoreResult:
    return restore(repository, manifest, target, RestoreOptions.parse(options))


@pytest.mark.parametrize("format", list(BackupFormat))
@pytest.mark.parametrize("level", [0, 3])
def test_a_conversation_comes_with_what_it_references(
    source: str, target: str, repository: Repository, format: BackupFormat, level: int
) -> None:
    manifest = back_up(repository, source, part_bytes=1 << 20, range_pages=64, format=format,
                       level=level)  # fmt: skip
    wanted = rows(source, f"SELECT {WANTED}::text")[0][0]
    result = selected(repository, manifest, target, conversations=[str(wanted).upper()])
    assert rows(target, HELD) == rows(source, CLOSURE)
    # Parents of the conversation, up to the first; the contacts and channels of these.
    assert {row[0] for row in rows(target, "SELECT id FROM conversations")} >= {
        row[0] for row in rows(source, "SELECT md5(n::text)::uuid FROM generate_series(1,7) n")
    }
    assert rows(
        target,
        "SELECT count(*) FROM contacts c WHERE NOT EXISTS (SELECT FROM"
        " conversations WHERE contact_id = c.id)",
    ) == [(0,)]
    assert sum(result.rows.values()) < 1500
    broken = rows(target, "SELECT conname FROM pg_constraint WHERE contype = 'f'"
                          " AND NOT convalidated")  # fmt: skip
    assert broken == []
    assert len(rows(target, "SELECT FROM pg_constraint WHERE contype = 'f'")) == len(
        rows(source, "SELECT FROM pg_constraint WHERE contype = 'f'")
    )


def test_a_table_comes_with_what_it_references(
    source: str, target: str, repository: Repository
) -> None:
    manifest = back_up(repository, source)
    result = selected(repository, manifest, target, tables=["messages"])
    counts = {name.name: n for name, n in result.rows.items()}
    assert counts["messages_old"] + counts["messages_new"] == 16000
    assert counts["attachments"] == counts["scans"] == 0
    assert counts["conversations"] == 60  # all are referenced
    assert counts["contacts"] == 60


def test_a_stretch_of_time_is_of_conversations(
    source: str, target: str, repository: Repository
) -> None:
    manifest = back_up(repository, source)
    selected(
        repository, manifest, target, since=datetime(2024, 1, 11, tzinfo=UTC),
        until=datetime(2024, 1, 13, tzinfo=UTC),
    )  # fmt: skip
    expected = rows(source, "SELECT count(*) FROM messages WHERE conversation_id IN"
                            " (md5('10')::uuid, md5('11')::uuid)")  # fmt: skip
    assert rows(target, "SELECT count(*) FROM messages WHERE conversation_id IN"
                        " (md5('10')::uuid, md5('11')::uuid)") == expected  # fmt: skip
    assert rows(target, "SELECT count(DISTINCT conversation_id) FROM messages") == [(2,)]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"conversations": [str(uuid4())]}, NotFoundError, "holds no conversation"),
        ({"conversations": ["x'; DROP TABLE"]}, NotFoundError, "holds no conversation"),
        ({"tables": ["nothing"]}, NotFoundError, "no table nothing"),
        ({"since": datetime(2030, 1, 1, tzinfo=UTC)}, NotFoundError, "No conversation"),
        ({"since": "2030-01-01T00:00:00Z", "createdColumn": "id"}, OptionsError, "created"),
        ({"conversations": ["a"], "mode": "replace"}, OptionsError, "cannot go with"),
        ({"since": "2030-01-01T00:00:00Z", "until": "2029-01-01T00:00:00Z"}, OptionsError,
         "must be before"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_told_and_nothing_is_made(
    source: str, target: str, repository: Repository, options: dict[str, object],
    error: type[Exception], says: str,
) -> None:  # fmt: skip
    manifest = back_up(repository, source)
    with pytest.raises(error, match=says):
        selected(repository, manifest, target, **options)
    assert rows(target, "SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_a_frame_or_a_piece_of_the_index_that_is_damaged_is_named(
    source: str, target: str, repository: Repository
) -> None:
    """At level 0 nothing but the digests in the index tells."""
    manifest = back_up(repository, source, part_bytes=1 << 20, range_pages=64, level=0)
    wanted = str(rows(source, f"SELECT {WANTED}::text")[0][0])
    assert manifest.index is not None
    keys = [p.key for t in manifest.tables for p in t.parts if "messages_old" in p.key]
    for key in [*keys, manifest.index.key]:
        stored = repository.store.get(key)
        damaged = stored.replace(b"0", b"1").replace(b"\0", b"\1", 1)
        assert damaged != stored
        repository.store.replace(key, damaged)
        with pytest.raises(IntegrityError) as caught:
            selected(repository, manifest, target, conversations=[wanted])
        assert caught.value.ids["key"] == key
        assert rows(target, "SELECT FROM pg_class WHERE relname = 'messages'") == []
        repository.store.replace(key, stored)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_one_conversation_of_many_costs_little(
    database: str, cluster: EmbeddedPostgres, new_database: Callable[[EmbeddedPostgres], str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Interleaved over the whole time: with a message in every stretch of pages."""
    messages = count(300_000, 3_000_000)
    with psycopg.connect(database) as connection, psycopg.ClientCursor(connection) as cursor:
        numbers = {"messages": messages, "conversations": messages // 60,
                   "contacts": messages // 60}  # fmt: skip
        cursor.execute(BIG, numbers)
    repository = Repository.create(open_store(f"memory://{uuid4().hex}"))
    manifest = back_up(repository, database, part_bytes=32 << 20, range_pages=2048)
    repository.put_manifest(manifest)
    stored = sum(info.size for info in repository.store.list())
    target = new_database(cluster)
    counting = CountingStore(repository.store)
    opened = Repository.open(counting)
    began = time.monotonic()
    conversation = str(rows(database, "SELECT md5('2')::uuid::text")[0][0])
    selected(opened, opened.manifest(manifest.backup_id), target, conversations=[conversation])
    seconds = time.monotonic() - began
    held = "SELECT id FROM messages WHERE conversation_id = md5('2')::uuid ORDER BY id"
    assert rows(target, held) == rows(database, held)
    assert len(rows(target, held)) == 60
    with capsys.disabled():
        print(f"\none conversation of {messages} messages: {counting.bytes} of {stored} bytes"
              f" ({100 * counting.bytes / stored:.2f} %), {counting.requests} requests,"
              f" {seconds:.2f} s")  # fmt: skip
    assert counting.bytes < stored / 100


@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("format", [BackupFormat.CSV, BackupFormat.PARQUET])
def test_some_of_an_encrypted_backup(
    source: str, target: str, repository: Repository, format: BackupFormat, blocks: bool
) -> None:
    """Also of one whose manifest tells no blocks of its index."""
    _, identity = new_key()
    _, other = new_key()
    manifest = back_up(repository, source, part_bytes=32 << 20, range_pages=2048, format=format,
                       encryptor=Encryptor([identity.recipient, other.recipient]))  # fmt: skip
    assert manifest.index is not None
    assert manifest.index.plain_blocks
    if not blocks:
        changes = {"plain_blocks": (), "digest_key": None}
        manifest = manifest.model_copy(update={"index": manifest.index.model_copy(update=changes)})
    wanted = str(rows(source, f"SELECT {WANTED}::text")[0][0])
    options = RestoreOptions(conversations=(wanted,))
    restore(repository, manifest, target, options, identities=[identity])
    assert rows(target, HELD) == rows(source, CLOSURE)


def test_an_index_of_earlier_versions_does_as_well(
    source: str, target: str, repository: Repository
) -> None:
    """Without frames and blocks: parts are read as wholes, and proven so."""
    manifest = back_up(repository, source, part_bytes=1 << 20, range_pages=64)
    assert manifest.index is not None
    index = pl.read_parquet(io.BytesIO(repository.store.get(manifest.index.key)))
    buffer = io.BytesIO()
    index.filter(pl.col("conversation").is_not_null()).drop(
        "digest", "first_key", "last_key"
    ).write_parquet(buffer, statistics=True)
    data = buffer.getvalue()
    repository.store.replace(manifest.index.key, data)
    changes = {"bytes": len(data), "sha256": sha256(data).hexdigest(), "blocks": ()}
    manifest = manifest.model_copy(update={"index": manifest.index.model_copy(update=changes)})
    wanted = str(rows(source, f"SELECT {WANTED}::text")[0][0])
    selected(repository, manifest, target, conversations=[wanted])
    assert rows(target, HELD) == rows(source, CLOSURE)
