"""A backup as the flow makes it, with the same steps and nothing of Prefect: what there is to gain.

Its own process imports it, is told a case, and prints what it took (`benchmarks.meter`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from convault import commit
from convault.carrying import BatchReader, Outgoing, packed, written
from convault.catalog import BackupRecord, open_catalog
from convault.installation import Installation, open_installation
from convault.models import BackupOptions, Chunk, Part
from convault.ranges import parent as parents
from convault.ranges.parent import Policy
from convault.reconcile import reconcile
from convault.repository import Repository
from convault.settings import Settings
from convault.sources.base import Snapshot
from tasks.chunk import plan
from tasks.count import counted_in, digests
from tasks.record import composed, lasting
from tasks.tally import Tally


def back_up(
    settings: Settings, options: BackupOptions, installation: Installation | None = None,
    seen: Callable[[Sequence[Part]], None] = lambda _: None,
) -> BackupRecord:  # fmt: skip
    """A plain backup of the conversations; the row of the completed backup. `seen` is shown the
    receipts of what was stored."""
    catalog = open_catalog(settings.catalog_url())
    installation = installation or open_installation(settings)
    repository, tally, backup_id = installation.repository, Tally(), uuid4()
    workers, part_bytes = settings.convault_workers, settings.convault_part_bytes
    policy = Policy(settings.convault_full_every, settings.convault_full_days)
    with catalog.begin(backup_id, options.to_json(), None) as lease:
        list(reconcile(repository, catalog))
        parentage = parents.find_parent(
            repository, catalog, options, keys=installation.signing, encryptor=None, policy=policy
        )
        with installation.source(options).snapshot() as snapshot:
            planned = plan(
                snapshot, options, parentage, repository, recipients=(),
                range_pages=settings.convault_range_pages,
                chunk_bytes=settings.convault_chunk_bytes, part_bytes=part_bytes, workers=workers,
            )  # fmt: skip
            tally.plan(planned.chunks, planned.taking)
            parts = _each(
                planned.chunks,
                lambda chunk: _carried(chunk, snapshot, repository, options, part_bytes, tally),
                workers,
            )
            seen(parts)
            planned = planned.with_keys(tuple(digests(snapshot, planned.keys, workers)))
            counts = {
                table.name: counted_in(snapshot, table, planned.keys_of(table))
                for table in snapshot.dataset.tables
            }
            manifest = composed(
                backup_id, options, repository, snapshot, counts, parts, planned,
                lasting(planned.keys, snapshot, tally.warn),
            )  # fmt: skip
        assert manifest.reuse is not None
        tally.reuse(manifest.reuse)
        return commit.commit(
            repository, catalog, lease, manifest, metrics=tally.metrics(),
            keys=installation.signing,
        )  # fmt: skip


def _each(
    chunks: Sequence[Chunk], carried: Callable[[Chunk], list[Part]], workers: int
) -> list[Part]:
    with ThreadPoolExecutor(workers) as pool:
        return [part for parts in pool.map(carried, chunks) for part in parts]


def _carried(
    chunk: Chunk, snapshot: Snapshot, repository: Repository, options: BackupOptions,
    part_bytes: int, tally: Tally,
) -> list[Part]:  # fmt: skip
    reader = BatchReader(snapshot, chunk.ranges, part_bytes)
    outgoing, parts = Outgoing(repository), []
    while not reader.finished:
        batch = reader.next_batch()
        for range_, rows in batch:
            tally.add("fetch", range_, rows.num_rows, "rows")
        documents = list(written(batch, snapshot.dataset, options, part_bytes))
        for part in packed(documents, options, None):
            tally.add("serialize", part.range, part.plain_bytes, "bytes")
            outgoing.add([part])
        for uploaded in outgoing.store():
            tally.add_upload(uploaded)
            parts.append(uploaded.part)
    return parts
