"""The commit protocol: how a backup comes to exist, all of it or nothing.

Counts first (`check_counts`), then `commit`: every object of the manifest is looked up again, all
is flushed to stable storage, the lease is proven (and with it that nobody may remove objects), the
manifest is written, the row follows. Killed
before the manifest, the old state stands, with objects that nothing names; killed after it, the
new one, and `reconcile` mends the row. Each step may be repeated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import UUID

from convault import index as conversations
from convault import memory, schema
from convault.archive import composed as archive
from convault.catalog.base import BackupRecord, BackupStatus, Catalog, Lease
from convault.dataset.belonging import indexed
from convault.encryption.objects import Encryptor
from convault.errors import (
    CatalogError,
    CatalogUnavailable,
    IncompleteBackup,
    NotFoundError,
    ObjectConflict,
    ObjectMissing,
    RepositoryError,
    StoreError,
)
from convault.files.entries import FileEntry, StorageFacts
from convault.files.faults import FEATURE as FILES
from convault.layout import SHARED_INDEXES
from convault.manifest import (
    FORMAT,
    PER_PAGE,
    SHARED_INDEX,
    EncryptionFacts,
    IndexEntry,
    Manifest,
    MemberEntry,
    MissingEntry,
    PartEntry,
    RangeEntry,
    ReadingEntry,
    ReuseFacts,
    TableEntry,
    part_path,
)
from convault.manifest_entries import Shared
from convault.models import (
    BackupOptions,
    Dataset,
    Part,
    Range,
    RangeKey,
    Selection,
    SourceFacts,
    Statement,
    TableName,
)
from convault.per_page import Reading
from convault.progress import report
from convault.readme import encrypted as readme_encrypted
from convault.readme import text as readme
from convault.repository import Repository
from convault.signing.signature import SigningKeys

_NO_KEYS = SigningKeys()

_LOOK_UPS = 8
"""objects looked up at a time: a store far away answers each in tens of milliseconds"""


class Step(StrEnum):
    """The steps of a commit, in their order. Each is reported as progress before it begins."""

    LOOK_UP = "look up objects"
    FLUSH = "flush"
    CHECK_LEASE = "check lease"
    PUT_MANIFEST = "put manifest"
    RECORD = "record"


def check_counts(counts: Mapping[TableName, int], parts: Iterable[Part]) -> None:
    """Compare what was stored with what was counted; IncompleteBackup names the table.

    `counts` must come from `count(*)` without page ranges (`Snapshot.count`), one per table of the
    dataset. Sums alone could agree when one range is stored twice and another not at all, so no
    range may overlap another, and a range's parts must be numbered from 0 without gaps.
    """
    by_table: dict[TableName, list[Part]] = defaultdict(list)
    for part in parts:
        by_table[part.range.table].append(part)
    for table in [*counts, *(set(by_table) - set(counts))]:
        got = sum(part.rows for part in by_table[table])
        if table not in counts:
            raise _incomplete(table, "was not counted, but parts of it are stored", 0, got)
        expected = counts[table]
        if got != expected:
            raise _incomplete(table, f"has {expected} rows, {got} are stored", expected, got)
        twice = _stored_twice(by_table[table])
        if twice is not None:
            raise _incomplete(table, f"has {twice.range} stored twice or in part", expected, got)


def check_keys(keys: Iterable[RangeKey], parts: Iterable[Part]) -> None:
    """Compare what was stored of each range with what its key was made of; IncompleteBackup names
    the table. Every part must lie in one of the ranges."""
    stored = _rows_by_range(parts)
    for key in keys:
        got = stored.pop(key.range, 0)
        if key.rows is not None and got != key.rows:
            what = f"has {key.rows} rows in {key.range}, {got} are stored"
            raise _incomplete(key.range.table, what, key.rows, got)
    for range_, got in stored.items():
        raise _incomplete(range_.table, f"has parts of {range_}, which was not planned", 0, got)


def build_manifest(
    *,
    backup_id: UUID,
    repository_id: UUID,
    options: BackupOptions,
    facts: SourceFacts,
    dataset: Dataset,
    statements: Sequence[Statement],
    counts: Mapping[TableName, int],
    parts: Iterable[Part],
    keys: Iterable[RangeKey] = (),
    members: Sequence[MemberEntry],
    index: IndexEntry | None = None,
    indexes: Sequence[IndexEntry] = (),
    parent_id: UUID | None = None,
    selection: Selection | None = None,
    digests: Mapping[TableName, str | None] | None = None,
    encryption: EncryptionFacts | None = None,
    files: Sequence[FileEntry] = (),
    storage: StorageFacts | None = None,
    readings: Mapping[TableName, Reading] | None = None,
    lacks: Sequence[str] = (),
    reuse: ReuseFacts | None = None,
) -> Manifest:
    """The manifest of these receipts: tables as in the dataset, parts and ranges in the order of
    their pages, parts numbered per table; `digests` are of the tables' rows
    (`convault.ranges.row_digest`), where they are known; `readings` tell how each table was read
    where there was no snapshot. ValueError when the receipts are of other tables
    than the dataset, KeyError when `counts` lacks one: `check_counts` and `check_keys` come before
    this."""
    by_table: dict[TableName, list[Part]] = defaultdict(list)
    for part in sorted(parts, key=lambda p: (p.range.table, p.range.first_page, p.ordinal)):
        by_table[part.range.table].append(part)
    stored = _rows_by_range(part for found in by_table.values() for part in found)
    ranges: dict[TableName, list[RangeEntry]] = defaultdict(list)
    for key in sorted(keys, key=lambda key: (key.range.table, key.range.first_page)):
        ranges[key.range.table].append(_range_entry(key, stored.get(key.range, 0)))
    strangers = set(by_table) - {table.name for table in dataset.tables}
    if strangers:
        raise ValueError(f"parts of tables outside the dataset: {sorted(map(str, strangers))}")
    return Manifest(
        format=FORMAT,
        backup_id=backup_id,
        repository_id=repository_id,
        created_at=datetime.fromisoformat(facts.taken_at),
        options=options.to_json(),
        parent_id=parent_id,
        source=facts,
        consistency="per-page" if readings else "snapshot",
        root=dataset.root,
        tables=tuple(
            TableEntry(
                name=table.name,
                kind=table.kind,
                columns=table.columns,
                primary_key=table.primary_key,
                parents=table.parents,
                rows=counts[table.name],
                parts=tuple(_entry(p, number) for number, p in enumerate(by_table[table.name])),
                digest=(digests or {}).get(table.name),
                reference_only=table.reference_only,
                ranges=tuple(ranges[table.name]),
                reading=_reading(readings[table.name]) if readings else None,
            )
            for table in dataset.tables
        ),
        foreign_keys=dataset.foreign_keys,
        statements=tuple(statements),
        members=tuple(members),
        index=index,
        indexes=tuple(indexes),
        features=(
            *(() if index is None or is_beside(index) else (SHARED_INDEX,)),
            *(() if storage is None else (FILES,)),
            *((PER_PAGE,) if readings else ()),
        ),
        selection=selection,
        absent=dataset.absent,
        lacks=tuple(lacks),
        encryption=encryption,
        files=tuple(files),
        storage=storage,
        reuse=reuse,
    )


def is_beside(index: IndexEntry) -> bool:
    """Whether an index lies beside its manifest, and belongs to that backup alone."""
    return not index.key.startswith(SHARED_INDEXES)


def write_members(
    repository: Repository,
    backup_id: UUID,
    *,
    facts: SourceFacts,
    dataset: Dataset,
    options: BackupOptions,
    statements: Sequence[Statement],
    selection: Selection | None = None,
    encrypted: bool = False,
    readings: Mapping[TableName, Reading] | None = None,
) -> tuple[MemberEntry, ...]:
    """Store the small files that lie beside the manifest: README.txt and schema.sql.

    Only for the holder of the lease; may be repeated, also with another snapshot's facts.
    StoreUnavailable, StoreError; RepositoryError when the backup is complete already.
    """
    taken_at = datetime.fromisoformat(facts.taken_at)
    opening = readme_encrypted.text(backup_id) if encrypted else b""
    contents = {
        "README.txt": opening
        + readme.text(backup_id, taken_at, dataset, options, selection, readings),
        "schema.sql": schema.as_script(statements),
    }
    return tuple(
        repository.put_member(backup_id, path, content) for path, content in contents.items()
    )


def write_index(
    repository: Repository,
    backup_id: UUID,
    dataset: Dataset,
    parts: Iterable[Part],
    encryptor: Encryptor | None = None,
    *,
    shared: bool = False,
) -> IndexEntry | None:
    """Store the index from conversation to parts and frames beside the manifest, as `write_members`
    does, or where later backups can share it; None where there is no root or it has no primary key:
    conversations have no name then. Parts that were taken over are in the parent's index."""
    tables = indexed(dataset)
    if not tables:
        return None
    memory.give_back()  # what rows took: or what entries take comes on top of it
    data = conversations.build(parts)
    if encryptor is None:
        return repository.put_index(backup_id, data, tables, shared=shared)
    sealed = encryptor.encrypt_once(data)
    entry = repository.put_index(backup_id, sealed, tables, encrypted=True, shared=shared)
    return entry.model_copy(update=encryptor.index_blocks(data))


def commit(
    repository: Repository,
    catalog: Catalog,
    lease: Lease,
    manifest: Manifest,
    *,
    metrics: dict[str, Any],
    keys: SigningKeys = _NO_KEYS,
) -> BackupRecord:
    """Make the backup exist, and its row say so; its manifest is signed with `keys`. The caller
    gives the lease back.

    Before the manifest is written: IncompleteBackup when no reader would take it, ObjectMissing,
    ObjectConflict, LeaseLost, NotAdopted, StoreUnavailable; then there is no backup. After it only
    CatalogUnavailable, and then there is one: the row is mended by the next reconcile and must not
    be called failed (`record_failure` sees to that). May be repeated with the same manifest, also
    when a reconcile has completed the row meanwhile.
    """
    stored = manifest.signed(keys)  # once: of many parts it takes a while, and memory
    if not _is_committed(repository, manifest, stored):
        require_readable(manifest, stored)
        _begin(Step.LOOK_UP)
        look_up_objects(repository, manifest)
        _begin(Step.FLUSH)
        repository.store.flush()
        _begin(Step.CHECK_LEASE)
        repository.require_same_writer()
        lease.check()
        _begin(Step.PUT_MANIFEST)
        repository.put_manifest(manifest, keys, stored)
    _begin(Step.RECORD)
    columns = completed_columns(
        manifest,
        file_size=archive.size_of(manifest, stored),
        completed_at=datetime.now(UTC),
        manifest_sha256=sha256(stored).hexdigest(),
    )
    try:
        return catalog.update(manifest.backup_id, **columns, metrics=metrics)
    except (CatalogError, NotFoundError) as error:
        raise CatalogUnavailable(
            f"Backup {manifest.backup_id} is complete and kept, but its row could not be written "
            f"({error.code}). The next backup, or `convault init`, puts the row right.",
            backup=manifest.backup_id,
        ) from None


def require_readable(manifest: Manifest, data: bytes) -> None:
    """IncompleteBackup unless the manifest, read from the `data` that will be stored, says the
    same: one that a reader refuses would be no backup."""
    try:
        known = Shared(manifest.entries())  # so that they are not there twice
        same = Manifest.from_bytes(data, where="the manifest", shared=known) == manifest
        why = "" if same else "it reads otherwise than it was written"
    except RepositoryError as error:
        why = error.message
    if why:
        raise IncompleteBackup(
            f"Nothing was committed, because the backup could not be read again: {why} Report "
            "this, with the options of the backup.",
            backup=manifest.backup_id,
        )


def record_failure(
    repository: Repository,
    catalog: Catalog,
    backup_id: UUID,
    message: str,
    *,
    metrics: dict[str, Any] | None = None,
) -> BackupRecord:
    """The row of a run that ended with an error: `failed`, unless the manifest is there after all
    (an answer of the store or the catalog was lost), which makes it `completed`.

    Not to be called after a LeaseLost: the row is somebody else's then. CatalogUnavailable,
    CatalogError, NotFoundError.
    """
    try:
        whole = archive.Archive(repository, backup_id)
        written = repository.store.head(repository.manifest_key(backup_id)).modified
        digest = sha256(repository.manifest_bytes(backup_id, 1)).hexdigest()
    except (NotFoundError, RepositoryError, StoreError):
        # A store that cannot be asked now is asked by the next reconcile.
        return catalog.update(backup_id, status=BackupStatus.FAILED, error=message, metrics=metrics)
    columns = completed_columns(
        whole.manifest,
        file_size=whole.size,
        completed_at=written,
        manifest_sha256=digest,
    )
    return catalog.update(backup_id, **columns, metrics=metrics)


def completed_columns(
    manifest: Manifest, *, file_size: int, completed_at: datetime, manifest_sha256: str
) -> dict[str, Any]:
    """What the row of a complete backup says. `file_size`: exact bytes of its tar;
    `manifest_sha256`: of the manifest as it is stored, so that damage to it shows later."""
    return {
        "status": BackupStatus.COMPLETED,
        "file_name": manifest.file_name,
        "file_size": file_size,
        "url": f"/api/communication/backups/{manifest.backup_id}/download",
        "error": None,
        "repository_id": manifest.repository_id,
        "parent_id": manifest.parent_id,
        "rows": manifest.rows,
        "stored_bytes": manifest.stored_bytes,
        "revision": manifest.revision,
        "completed_at": completed_at,
        "manifest_sha256": manifest_sha256,
    }


def _begin(step: Step) -> None:
    report("commit", step, done=list(Step).index(step), total=len(Step), unit="steps")


def _is_committed(repository: Repository, manifest: Manifest, stored: bytes) -> bool:
    try:
        return repository.manifest_bytes(manifest.backup_id, manifest.revision) == stored
    except NotFoundError:
        return False


def look_up_objects(repository: Repository, manifest: Manifest) -> None:
    """Whether every object of the manifest is there and has its size. ObjectMissing,
    ObjectConflict."""
    expected = manifest.objects()

    def look_up(key: str) -> None:
        try:
            size = repository.store.head(key).size
        except ObjectMissing:
            raise ObjectMissing(
                f"{key} was stored, and is gone again from {repository.store.url}. Nothing was "
                "committed: see what removes objects there, and back up again.",
                key=key,
                backup=manifest.backup_id,
            ) from None
        if size != expected[key]:
            raise ObjectConflict(
                f"{key} in {repository.store.url} has {size} bytes, {expected[key]} were stored. "
                "Nothing was committed: move that object away, and back up again.",
                key=key,
                backup=manifest.backup_id,
            )

    with ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="look up") as pool:
        futures = [pool.submit(look_up, key) for key in expected]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _entry(part: Part, number: int) -> PartEntry:
    suffix = part.key.rpartition("/")[2].removeprefix(part.sha256)
    return PartEntry(
        key=part.key,
        path=part_path(part.range.table, number, suffix),
        sha256=part.sha256,
        stored_bytes=part.stored_bytes,
        plain_sha256=part.plain_sha256,
        plain_bytes=part.plain_bytes,
        rows=part.rows,
        first_page=part.range.first_page,
        end_page=part.range.end_page,
        ordinal=part.ordinal,
        digest_key=part.digest_key,
    )


def _reading(told: Reading) -> ReadingEntry:
    return ReadingEntry(
        first_page_at=datetime.fromisoformat(told.first_page_at),
        last_page_at=datetime.fromisoformat(told.last_page_at),
        counted_before=told.counted_before,
        counted_after=told.counted_after,
        late=told.late,
        gone=told.gone,
        missing=tuple(
            MissingEntry(columns=gap.columns, references=gap.references, values=gap.values)
            for gap in told.missing
        ),
    )


def _range_entry(key: RangeKey, rows: int) -> RangeEntry:
    return RangeEntry(
        first_page=key.range.first_page,
        end_page=key.range.end_page,
        rows=rows,
        key=key.key,
        reason=key.reason,
        taken_over=key.taken_over,
        read_because="" if key.read_because == key.reason else key.read_because,
        digest=key.digest,
    )


def _rows_by_range(parts: Iterable[Part]) -> dict[Range, int]:
    rows: dict[Range, int] = defaultdict(int)
    for part in parts:
        rows[part.range] += part.rows
    return rows


def _stored_twice(parts: list[Part]) -> Part | None:
    """The first part that is not the next of its range, nor the first of one further on."""
    before: Part | None = None
    for part in sorted(parts, key=lambda p: (p.range.first_page, p.ordinal)):
        if before is not None and part.range == before.range:
            fits = part.ordinal == before.ordinal + 1
        else:
            end = 0 if before is None else before.range.end_page
            fits = part.ordinal == 0 and end is not None and part.range.first_page >= end
        if not fits:
            return part
        before = part
    return None


def _incomplete(table: TableName, what: str, expected: int, got: int) -> IncompleteBackup:
    return IncompleteBackup(
        f"{table} {what}. Nothing was committed: start the backup again, and report this if it "
        "comes back.",
        table=table,
        expected=expected,
        got=got,
    )
