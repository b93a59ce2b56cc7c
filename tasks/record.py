"""Record the backup: what lies beside it, its manifest, and then its row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from prefect import get_run_logger, task

from convault import commit
from convault.catalog.base import BackupRecord, Catalog, Lease
from convault.encryption.objects import Encryptor
from convault.files.outcomes import FileReceipts
from convault.manifest import DigestKey, EncryptionFacts, Manifest
from convault.models import BackupOptions, Part, RangeKey, TableName
from convault.ranges.reuse import Taking, reuse_facts
from convault.ranges.row_digest import Counted
from convault.repository import Repository
from convault.signing.signature import SigningKeys
from convault.sources.base import Snapshot
from tasks.boundary import contained
from tasks.chunk import Plan
from tasks.load import Load
from tasks.policy import POLICY
from tasks.tally import Tally


@task(name="record", task_run_name="record {backup_id}", retries=5, **POLICY)
@contained
def record(
    backup_id: UUID,
    options: BackupOptions,
    repository: Repository,
    catalog: Load[Catalog],
    lease: Load[Lease],
    snapshot: Load[Snapshot],
    counts: Mapping[TableName, Counted],
    parts: Load[Sequence[Part]],
    plan: Load[Plan],
    tally: Load[Tally],
    encryptor: Encryptor | None = None,
    signing: SigningKeys = SigningKeys(),  # noqa: B008  it cannot be changed
    files: Load[FileReceipts] | None = None,
) -> BackupRecord:
    """Commit (see `convault.commit`); the row as it is then. Every step of it may be repeated.
    `parts` are those that were read; those of ranges that were taken over come with the `plan`.

    IncompleteBackup when the parts are not what was counted, or what the keys were made of.
    """
    with tally.content.timed("settle"):
        keys = lasting(plan.content.keys, snapshot.content, tally.content.warn)
    manifest = composed(
        backup_id, options, repository, snapshot.content, counts, parts.content, plan.content,
        keys, encryptor, None if files is None else files.content,
    )  # fmt: skip
    assert manifest.reuse is not None
    tally.content.reuse(manifest.reuse)
    for range_ in manifest.reuse.differing:
        get_run_logger().error(
            "%s: the rows that were read again are not those that backup %s holds, though nothing "
            "changed them. One of the two is wrong: run `convault drill` on both.",
            range_,
            manifest.parent_id,
        )
    return commit.commit(
        repository, catalog.content, lease.content, manifest,
        metrics=tally.content.metrics(), keys=signing,
    )  # fmt: skip


def composed(
    backup_id: UUID, options: BackupOptions, repository: Repository, seen: Snapshot,
    counts: Mapping[TableName, Counted], parts: Sequence[Part], plan: Plan,
    keys: Sequence[RangeKey], encryptor: Encryptor | None = None,
    files: FileReceipts | None = None,
) -> Manifest:  # fmt: skip
    """The manifest, with what lies beside it stored; see `record`. `keys` are those that it tells
    (`lasting`)."""
    taking = plan.taking
    rows = {table: counted.rows for table, counted in counts.items()}
    whole = [*parts, *taking.parts]
    commit.check_counts(rows, whole)
    commit.check_keys(taking.keys, whole)
    members = commit.write_members(
        repository,
        backup_id,
        facts=seen.facts,
        dataset=seen.dataset,
        options=options,
        statements=seen.statements,
        selection=seen.selection,
        encrypted=encryptor is not None,
        readings=seen.readings(),
    )
    return commit.build_manifest(
        backup_id=backup_id,
        repository_id=repository.repository_id,
        options=options,
        facts=seen.facts,
        dataset=seen.dataset,
        statements=seen.statements,
        counts=rows,
        digests={table: counted.digest for table, counted in counts.items()},
        parts=whole,
        keys=keys,
        members=members,
        selection=seen.selection,
        index=commit.write_index(
            repository, backup_id, seen.dataset, parts, encryptor,
            shared=seen.selection is None,  # or it is nobody's parent
        ),
        indexes=taking.indexes,
        parent_id=None if taking.parent is None else taking.parent.backup_id,
        encryption=encryption(encryptor, taking, () if files is None else files.digest_keys),
        files=() if files is None else files.entries,
        storage=None if files is None else files.facts,
        reuse=reuse_facts(
            taking, whole, range_pages=plan.range_pages, taken_at=seen.facts.taken_at
        ),
        readings=seen.readings(),
        lacks=seen.lacks,
    )  # fmt: skip


def lasting(
    keys: Iterable[RangeKey], snapshot: Snapshot, warn: Callable[[str], None]
) -> list[RangeKey]:
    """The keys; without them, where what the snapshot shows could be taken back by a crash of the
    server: then no later backup may compare its own with them."""
    listed = list(keys)
    if not any(key.key for key in listed):
        return listed
    why = snapshot.unsettled()
    if not why:
        return listed
    warn(f"The next backup will read every row, because {why}.")
    return [replace(k, key=None, reason=why) if k.key is not None else k for k in listed]


def encryption(
    encryptor: Encryptor | None, taking: Taking, of_files: Iterable[DigestKey] = ()
) -> EncryptionFacts | None:
    """With the digest keys of the parts and files that were taken over, and of the indexes that
    tell of the parts."""
    if encryptor is None:
        return None
    facts = None if taking.parent is None else taking.parent.encryption
    needed = {part.digest_key for part in taking.parts}
    needed |= {index.digest_key for index in taking.indexes}
    of_parts = () if facts is None else facts.digest_keys
    others = {key.id: key for key in of_parts if key.id in needed}
    others |= {key.id: key for key in of_files}
    return encryptor.facts_with(others.values())
