"""Record the backup: what lies beside it, its manifest, and then its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect import task

from convault import commit
from convault.catalog.base import BackupRecord, Catalog, Lease
from convault.encryption import Encryptor
from convault.models import BackupOptions, Part, RangeKey, TableName
from convault.repository import Repository
from convault.row_digest import Counted
from convault.signature import SigningKeys
from convault.sources.base import Snapshot
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY, TAGS


@task(name="record", task_run_name="record {backup_id}", tags=TAGS, retries=5, **POLICY)
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
    keys: Load[Sequence[RangeKey]],
    metrics: Load[dict[str, Any]],
    encryptor: Encryptor | None = None,
    signing: SigningKeys = SigningKeys(),  # noqa: B008  it cannot be changed
) -> BackupRecord:
    """Commit (see `convault.commit`); the row as it is then. Every step of it may be repeated.

    IncompleteBackup when the parts are not what was counted, or what the keys were made of.
    """
    rows = {table: counted.rows for table, counted in counts.items()}
    commit.check_counts(rows, parts.content)
    commit.check_keys(keys.content, parts.content)
    seen = snapshot.content
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
    manifest = commit.build_manifest(
        backup_id=backup_id,
        repository_id=repository.repository_id,
        options=options,
        facts=seen.facts,
        dataset=seen.dataset,
        statements=seen.statements,
        counts=rows,
        digests={table: counted.digest for table, counted in counts.items()},
        parts=parts.content,
        keys=keys.content,
        members=members,
        selection=seen.selection,
        index=commit.write_index(repository, backup_id, seen.dataset, parts.content, encryptor),
        encryption=None if encryptor is None else encryptor.facts,
        readings=seen.readings(),
        lacks=seen.lacks,
    )
    return commit.commit(
        repository, catalog.content, lease.content, manifest,
        metrics=metrics.content, keys=signing,
    )  # fmt: skip
