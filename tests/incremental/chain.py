"""Backups one after the other, each the parent of the next: the real parts, without Prefect."""

from __future__ import annotations

import io
import json
from collections import Counter
from contextlib import closing
from uuid import uuid4

import polars as pl
import psycopg
import zstandard

from convault.manifest import Manifest, TableEntry
from convault.models import BackupOptions
from convault.ranges.parent import ASKED, Parentage
from convault.repository import Repository
from convault.sources.base import Snapshot
from tasks.chunk import plan
from tasks.count import counted_in, digests
from tasks.record import composed, lasting
from tests.restore.builder import _store
from tests.sources.reading import source

Rows = dict[str, Counter[tuple[str | None, ...]]]
"""By table: each row, values as Postgres writes them, and how often it is there."""


class Chain:
    """Makes backups of the database at `url`, which may be another one each time."""

    def __init__(self, repository: Repository, url: str, *, range_pages: int = 1) -> None:
        self.repository = repository
        self.url = url
        self.range_pages = range_pages
        self.last: Manifest | None = None
        self.warnings: list[str] = []

    def back_up(self, *, full: bool = False) -> tuple[Manifest, Rows]:
        """A backup, stored, and what plain SQL finds in its snapshot."""
        options = BackupOptions(full=full)
        parentage = Parentage(self.last, "nothing was there" if self.last is None else "")
        if full:
            parentage = Parentage(self.last, ASKED)
        with source(self.url).snapshot() as snapshot:
            planned = plan(
                snapshot, options, parentage, self.repository, recipients=(),
                range_pages=self.range_pages, chunk_bytes=1 << 20, part_bytes=1 << 14, workers=1,
            )  # fmt: skip
            parts = [
                part
                for chunk in planned.chunks
                for range_ in chunk.ranges
                for part in _store(
                    self.repository, snapshot, snapshot.dataset.table(range_.table), range_,
                    options, 1 << 14, None,
                )
            ]  # fmt: skip
            made = tuple(digests(snapshot, planned.keys, 1))
            planned = planned.with_keys(made)
            counts = {table.name: counted_in(snapshot, table, planned.keys_of(table))
                      for table in snapshot.dataset.tables}  # fmt: skip
            manifest = composed(
                uuid4(), options, self.repository, snapshot, counts, parts, planned,
                lasting(planned.keys, snapshot, self.warnings.append),
            )  # fmt: skip
            expected = seen_by_sql(self.url, snapshot)
        self.repository.put_manifest(manifest)
        self.last = self.repository.manifest(manifest.backup_id)
        return self.last, expected


def seen_by_sql(url: str, snapshot: Snapshot) -> Rows:
    """Every row of the dataset's tables, asked for by hand in the same snapshot."""
    found: Rows = {}
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot.facts.snapshot}'".encode())
        connection.execute("SET LOCAL timezone = 'UTC'")
        connection.execute("SET LOCAL search_path = ''")
        for table in snapshot.dataset.tables:
            if table.kind == "r":
                columns = ", ".join(f'"{column.name}"::text' for column in table.columns)
                rows = connection.execute(
                    f"SELECT {columns} FROM ONLY {table.name.quoted}".encode()
                )
                found[str(table.name)] = Counter(rows.fetchall())
    return found


def stored(repository: Repository, manifest: Manifest) -> Rows:
    """Every row of the backup, read with zstd and json."""
    return {
        str(table.name): Counter(
            row for part in table.parts for row in _rows(repository, table, part.key)
        )
        for table in manifest.tables
        if table.kind == "r"
    }


def _rows(repository: Repository, table: TableEntry, key: str) -> list[tuple[str | None, ...]]:
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(repository.store.get(key)), read_across_frames=True
    )
    names = [column.name for column in table.columns]
    return [
        tuple(_text(json.loads(line)[name]) for name in names) for line in io.TextIOWrapper(reader)
    ]


def _text(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def conversations_told(repository: Repository, manifest: Manifest) -> Counter[tuple[str, str]]:
    """Rows by conversation and part, as the backup's indexes tell them together."""
    known = {part.key for table in manifest.tables for part in table.parts}
    pieces = [
        pl.read_parquet(io.BytesIO(repository.store.get(entry.key)))
        for entry in manifest.all_indexes
    ]
    whole = pl.concat(pieces).filter(
        pl.col("conversation").is_not_null() & pl.col("part").is_in(list(known))
    )
    rows = whole.select("conversation", "part", "rows").unique().rows()
    return Counter({(conversation, part): count for conversation, part, count in rows})


def conversations_held(
    repository: Repository, manifest: Manifest, columns: dict[str, str]
) -> Counter[tuple[str, str]]:
    """The same, counted in the parts themselves; `columns` name each table's conversation."""
    found: Counter[tuple[str, str]] = Counter()
    for table in manifest.tables:
        names = [column.name for column in table.columns]
        if table.name.name not in columns:
            continue
        place = names.index(columns[table.name.name])
        for key in {part.key for part in table.parts}:
            for row in _rows(repository, table, key):
                if row[place] is not None:
                    found[str(row[place]), key] += 1
    return found
