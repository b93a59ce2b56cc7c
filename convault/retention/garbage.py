"""What no manifest names, those in the trash included; refused when that is not certain."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from convault import layout
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.errors import SweepRefused
from convault.repository import Repository
from convault.retention.candidates import LOST
from convault.retention.clocks import disagreement, other_clocks
from convault.stores.base import ObjectInfo
from convault.trash import trashed
from convault.verification.findings import Finding, FindingKind
from convault.verification.holdings import Holdings, add_trash, read_holdings
from convault.verification.presence import faults, strangers


@dataclass(frozen=True, slots=True)
class Garbage:
    """What was seen at one moment. Made only where nobody writes."""

    now: datetime
    """the database's time"""
    listing: Mapping[str, ObjectInfo]
    unneeded: frozenset[str]
    """keys of objects that are Convault's, and that no manifest names"""


def survey(repository: Repository, catalog: Catalog, without: Collection[UUID] = ()) -> Garbage:
    """Read every manifest, list the store, and compare, as if the backups `without` were gone.
    SweepRefused when what is needed cannot be told for certain; StoreError, CatalogError."""
    now = catalog.now()
    rows = {r.id: r for r in catalog.list() if r.repository_id == repository.repository_id}
    return look(repository, now, rows, without)


def look(
    repository: Repository,
    now: datetime,
    rows: Mapping[UUID, BackupRecord],
    without: Collection[UUID] = (),
) -> Garbage:
    """The same, where `rows` are what is known of the backups that should be there, and `now` is
    the database's time."""
    why = disagreement(now, other_clocks(repository))
    if why is not None:
        raise SweepRefused(f"Nothing was removed: {why}.")
    committed = {row.id: row.manifest_sha256 for row in rows.values()}
    revisions = {row.id: row.revision for row in rows.values()}
    # In this order: `convault.trash`. Manifests before objects: what they name was there before.
    there = set(repository.backup_ids())
    deleted = set(trashed(repository)) - there
    _require_all(rows, there | deleted)
    gone = set(without)
    holdings = read_holdings(repository, there - gone, committed, revisions=revisions)
    add_trash(holdings, repository, deleted - gone, committed, revisions)
    _require(holdings.findings)
    listing = {info.key: info for info in repository.store.list()}
    _require(faults(holdings, listing), FindingKind.MISSING)
    return Garbage(now, listing, frozenset(_unneeded(holdings, listing, gone)))


def _unneeded(
    holdings: Holdings, listing: Mapping[str, ObjectInfo], gone: Collection[UUID]
) -> set[str]:
    # Of a backup that goes, its manifests go first, by whoever removes it.
    manifests = {layout.manifest_key(backup_id) for backup_id in gone}
    found = strangers(holdings, listing)
    return {f.key for f in found if f.kind is FindingKind.ORPHANED and f.key not in manifests}


def _require_all(rows: Mapping[UUID, BackupRecord], manifests: Collection[UUID]) -> None:
    """A backup that was completed and whose manifest is not there may come back (a disk that is
    mounted, a copy that is put back), and then needs its objects."""
    for row in rows.values():
        lost = row.status is BackupStatus.FAILED and (row.error or "").startswith(LOST)
        if (lost or row.status is BackupStatus.COMPLETED) and row.id not in manifests:
            raise SweepRefused(
                f"Nothing was removed: backup {row.id} was completed, and its manifest is gone. "
                f"Put it back; or, if it is not wanted any more, run `convault delete {row.id}`.",
                backup=row.id,
            )


def _require(findings: Iterable[Finding], kind: FindingKind | None = None) -> None:
    for finding in findings:
        if kind is None or finding.kind is kind:
            raise SweepRefused(
                f"Nothing was removed, because not all is as the manifests say: {finding.key}: "
                f"{finding.reason}. `convault verify` tells more; when it is put right, or that "
                "backup is purged, try again.",
                key=finding.key,
            )
