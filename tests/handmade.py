"""A repository with a small backup made by hand: for tests that need no database."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from obstore.store import MemoryStore

from convault.encryption.objects import Encryptor
from convault.files.entries import ColumnEntry, FileEntry, Referrer, StorageFacts
from convault.formats import ndjson
from convault.formats.registry import format_of
from convault.layout import file_key
from convault.manifest import FORMAT, Manifest, PartEntry, TableEntry, part_path
from convault.models import (
    BackupFormat,
    BackupOptions,
    Column,
    Dataset,
    ForeignKey,
    SourceFacts,
    Statement,
    Table,
    TableName,
)
from convault.readme import text as readme
from convault.repository import Repository
from convault.stores.base import Store
from convault.stores.objects import ObjectStore

BACKUP = UUID("0c0ffee0-0000-4000-8000-000000000001")
TAKEN = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)
CONVERSATIONS = TableName("public", "conversations")
MESSAGES = TableName("public", "messages")
ODD = TableName("Fale Conosco", "Mensagens/ação")
"""a table whose name and schema need encoding"""
SCHEMA = b"CREATE TABLE conversations (id bigint, title text, open boolean);\n"

COLUMNS = (
    Column("id", 1, "bigint", "integer", True, "", "a"),
    Column("title", 2, "text", "text", False, "", ""),
    Column("open", 4, "boolean", "boolean", False, "", ""),
)


def rows(first: int, number: int) -> bytes:
    """NDJSON of a table with COLUMNS."""
    texts = ["olá 👋", None, "", 'quo"te\nline', "x" * 300]
    return b"".join(
        json.dumps(
            {"id": n, "title": texts[n % 5], "open": [True, False, None][n % 3]},
            ensure_ascii=False,
        ).encode()
        + b"\n"
        for n in range(first, first + number)
    )


def dataset(names: Sequence[TableName]) -> Dataset:
    tables = tuple(Table(n, 16384 + i, "r", COLUMNS, ("id",), ()) for i, n in enumerate(names))
    return Dataset(names[0], tables, ())


def new_repository(store: Store | None = None) -> Repository:
    return Repository.create(store or ObjectStore(MemoryStore(), "memory://handmade"))


def put_part(
    repository: Repository,
    table: TableName,
    number: int,
    plain: bytes,
    level: int = 3,
    format: BackupFormat = BackupFormat.JSON,
    encryptor: Encryptor | None = None,
) -> PartEntry:
    """Store `plain`, which is NDJSON, as the table's part `number`."""
    format_ = format_of(format)
    document = ndjson.document(plain)
    count = document.rows
    if format is not BackupFormat.JSON:
        (rows,) = ndjson.Ndjson().read(plain, COLUMNS)
        (document,) = format_.serialize(rows.frame.to_arrow(), COLUMNS, len(plain) * 9, level)
        plain = document.data
    stored = format_.store(document, level).data
    suffix = format_.suffix(level)
    plain_digest = sha256(plain).hexdigest()
    if encryptor is not None:
        plain_digest = encryptor.digest(plain)
        stored, suffix = encryptor.encrypt(stored), suffix + ".age"
    digest = sha256(stored).hexdigest()
    key = repository.part_key(table, digest, suffix)
    repository.store.put(key, stored)
    return PartEntry(
        key=key,
        path=part_path(table, number, suffix),
        sha256=digest,
        stored_bytes=len(stored),
        plain_sha256=plain_digest,
        plain_bytes=len(plain),
        rows=count,
        first_page=number * 10,
        end_page=number * 10 + 10,
        ordinal=0,
        digest_key=None if encryptor is None else encryptor.digest_key.id,
    )


def new_backup(
    repository: Repository,
    contents: dict[TableName, list[bytes]] | None = None,
    *,
    level: int = 3,
    backup_id: UUID = BACKUP,
    format: BackupFormat = BackupFormat.JSON,
    encryptor: Encryptor | None = None,
    files: dict[tuple[str, str], bytes] | None = None,
) -> Manifest:
    """Store everything of a backup but its manifest, which is returned. `contents`: the plain bytes
    of each table's parts; by default three tables, of which two share an object and one is empty.
    `files` of Storage by bucket and path; one that is missing and one elsewhere come along."""
    if contents is None:
        contents = {
            CONVERSATIONS: [rows(0, 20)],
            MESSAGES: [rows(0, 300), rows(300, 50), rows(0, 300)],
            ODD: [rows(7, 3)],
            TableName("public", "empty"): [],
        }
    about = dataset(list(contents))
    options = BackupOptions(compression_level=level, format=format)
    members = (
        repository.put_member(
            backup_id, "README.txt", readme.text(backup_id, TAKEN, about, options)
        ),
        repository.put_member(backup_id, "schema.sql", SCHEMA),
    )
    tables = []
    for name, plains in contents.items():
        parts = tuple(
            put_part(repository, name, n, plain, level, format, encryptor)
            for n, plain in enumerate(plains)
        )
        tables.append(
            TableEntry(
                name=name,
                kind="r",
                columns=COLUMNS,
                primary_key=("id",),
                parents=(),
                rows=sum(p.rows for p in parts),
                parts=parts,
            )
        )
    return Manifest(
        format=FORMAT,
        backup_id=backup_id,
        repository_id=repository.repository_id,
        created_at=TAKEN,
        options=options.to_json(),
        parent_id=None,
        source=SourceFacts(
            "localhost", "app", "7290000000000000000", "18.0", "00000003-1", TAKEN.isoformat()
        ),
        consistency="snapshot",
        root=CONVERSATIONS,
        tables=tuple(tables),
        foreign_keys=(
            ForeignKey("messages_fk", MESSAGES, ("id",), TableName("auth", "users"), ("id",)),
        ),
        statements=(Statement("table", "public.conversations", "CREATE TABLE x ()", False),),
        members=members,
        encryption=None if encryptor is None else encryptor.facts,
        files=() if files is None else put_files(repository, files, encryptor),
        storage=None if files is None else StorageFacts(
            project="https://abc.supabase.co",
            hosts=("abc.supabase.co",),
            columns=(ColumnEntry(table=MESSAGES, column="title", rows=len(files) + 2),),
        ),
        features=() if files is None else ("files",),
    )  # fmt: skip


def put_files(
    repository: Repository, files: dict[tuple[str, str], bytes], encryptor: Encryptor | None
) -> tuple[FileEntry, ...]:
    """Store these, and tell of two that are not stored."""
    by = (Referrer(table=MESSAGES, column="title", rows=1),)
    entries = []
    for (bucket, path), plain in files.items():
        stored = plain if encryptor is None else encryptor.encrypt(plain)
        digest = sha256(stored).hexdigest()
        repository.put_file(digest, io.BytesIO(stored), encrypted=encryptor is not None)
        entries.append(
            FileEntry(
                outcome="stored", bucket=bucket, path=path, referrers=by,
                key=file_key(digest, encrypted=encryptor is not None),
                sha256=digest, stored_bytes=len(stored), plain_bytes=len(plain),
                plain_sha256=sha256(plain).hexdigest() if encryptor is None
                else encryptor.digest(plain),
                digest_key=None if encryptor is None else encryptor.digest_key.id,
                content_type="image/png", etag='"x"', modified=TAKEN.isoformat(),
            )
        )  # fmt: skip
    return (
        *entries,
        FileEntry(outcome="missing", bucket="media", path="gone", referrers=by),
        FileEntry(outcome="external", reason="other host", host="a.example", referrers=by),
    )
