"""A backup without Prefect: the real source, schema, formats and repository."""

from __future__ import annotations

from hashlib import sha256
from uuid import uuid4

import pyarrow as pa

from convault import index
from convault.commit import build_manifest, write_index
from convault.dataset.belonging import belonging
from convault.dataset.scope import Scope
from convault.encryption.objects import Encryptor
from convault.formats.registry import format_of
from convault.manifest import Manifest
from convault.models import BackupFormat, BackupOptions, Part, Range, Table, TableName
from convault.repository import Repository
from convault.sources.base import Snapshot, Source
from convault.sources.postgres import PostgresSource
from tasks.chunk import ranges_of

CONVERSATIONS = TableName("public", "conversations")
MESSAGES = TableName("public", "messages")


def back_up(
    repository: Repository,
    url: str,
    *,
    root: TableName = CONVERSATIONS,
    messages: TableName = MESSAGES,
    part_bytes: int = 1 << 16,
    range_pages: int = 16,
    level: int = 3,
    format: BackupFormat = BackupFormat.JSON,
    scope: Scope | None = None,
    encryptor: Encryptor | None = None,
    source: Source | None = None,
) -> Manifest:
    """Small parts by default, so that a small table has several. `scope` wins over `root` and
    `messages`, `source` over all of them. The manifest is not stored."""
    if source is None:
        source = PostgresSource(url, scope=scope or Scope(root, messages), lock_timeout=10)
    options = BackupOptions(compression_level=level, format=format)
    with source.snapshot() as snapshot:
        parts = []
        for table in snapshot.dataset.tables:
            if table.kind == "p":
                continue
            for range_ in ranges_of(table, snapshot, range_pages):
                if snapshot.pages(range_) == 0:
                    continue
                parts += _store(repository, snapshot, table, range_, options, part_bytes, encryptor)
        while late := snapshot.late():
            for range_ in late:
                table = snapshot.dataset.table(range_.table)
                parts += _store(repository, snapshot, table, range_, options, part_bytes, encryptor)
        backup_id = uuid4()
        counts = {table.name: snapshot.counted(table) for table in snapshot.dataset.tables}
        return build_manifest(
            backup_id=backup_id,
            repository_id=repository.repository_id,
            options=options,
            facts=snapshot.facts,
            dataset=snapshot.dataset,
            statements=snapshot.statements,
            counts={name: counted.rows for name, counted in counts.items()},
            digests={name: counted.digest for name, counted in counts.items()},
            parts=parts,
            members=[],
            selection=snapshot.selection,
            index=write_index(repository, backup_id, snapshot.dataset, parts, encryptor),
            encryption=None if encryptor is None else encryptor.facts,
            readings=snapshot.readings(),
            lacks=snapshot.lacks,
        )


def _store(
    repository: Repository, snapshot: Snapshot, table: Table, range_: Range,
    options: BackupOptions, part_bytes: int, encryptor: Encryptor | None,
) -> list[Part]:  # fmt: skip
    batches = list(snapshot.read(range_))
    if not batches:
        return []
    format_, level = format_of(options.format), options.compression_level
    belongs = belonging(snapshot.dataset, table.name)
    key = index.key_column(table)
    ordered, keys = index.arranged(pa.Table.from_batches(batches), table.columns, belongs, key)
    documents = format_.serialize(ordered, table.columns, part_bytes, level)
    parts = []
    own_keys = index.own_keys(ordered, table.columns, key)
    for ordinal, grouped in enumerate(index.grouped(documents, keys, own_keys)):
        plain, rows, _ = grouped.document
        document = format_.store(grouped.document, level)
        stored = document.data
        suffix, plain_digest = format_.suffix(level), sha256(plain).hexdigest()
        if encryptor is not None:
            suffix, plain_digest = f"{suffix}.age", encryptor.digest(plain)
            stored = encryptor.encrypt(stored)
        digest = sha256(stored).hexdigest()
        key = repository.part_key(table.name, digest, suffix)
        repository.store.put(key, stored)
        parts.append(
            Part(
                range_,
                ordinal,
                key,
                digest,
                len(stored),
                plain_digest,
                len(plain),
                rows,
                index.entries(grouped, document),
                None if encryptor is None else encryptor.digest_key.id,
            )
        )
    return parts
