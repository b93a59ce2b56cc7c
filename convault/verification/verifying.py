"""One verification, step by step: survey, read back, repair. The flow and the command are made of
these steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from convault.adoption import require_ours
from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.errors import NotFoundError, VerificationFailed
from convault.installation import Installation
from convault.repository import Repository
from convault.signing.signature import SigningKeys
from convault.trash import trashed
from convault.verification import presence
from convault.verification.findings import Finding, FindingKind, Unread, Verification
from convault.verification.holdings import (
    Holdings,
    add_trash,
    missing_manifest,
    read_holdings,
)
from convault.verification.presence import Listing
from convault.verification.reading import Subset, read_back
from convault.verification.repairing import Repairing

_NO_KEYS = SigningKeys()


@dataclass(slots=True)
class Survey:
    """What is needed, what is there, and what was found so far."""

    scope: str
    """the backup, or '' for all"""
    holdings: Holdings
    listing: Listing
    findings: list[Finding]
    read: dict[str, bool] = field(default_factory=dict)
    """objects that were read in this run, and whether they had their digest"""


def survey(
    repository: Repository,
    catalog: Catalog,
    backup_id: UUID | None = None,
    keys: SigningKeys = _NO_KEYS,
) -> Survey:
    """Read the manifests, list the store, and compare: presence and size of every object.

    Of all backups, or of one. NotFoundError when the one does not exist; StoreError, CatalogError.
    """
    rows = {row.id: row for row in catalog.list() if row.repository_id == repository.repository_id}
    committed = {row.id: row.manifest_sha256 for row in rows.values()}
    # Manifests first: what they name was stored before them, so a later listing must show it.
    there = repository.backup_ids()
    chosen = there if backup_id is None else [backup_id]
    if backup_id is not None and backup_id not in there and not _completed(rows, backup_id):
        raise NotFoundError(
            f"There is no backup {backup_id} in {repository.store.url}; `convault list` shows "
            "those there are.",
            backup=backup_id,
        )
    revisions = {row.id: row.revision for row in rows.values()}
    holdings = read_holdings(repository, chosen, committed, keys, revisions)
    if backup_id is None:
        deleted = set(trashed(repository)) - set(there)
        add_trash(holdings, repository, deleted, committed, revisions)
    listing = {info.key: info for info in repository.store.list()}
    findings = holdings.findings + list(presence.faults(holdings, listing))
    if backup_id is None:
        findings += [
            missing_manifest(repository, row_id)
            for row_id in rows
            if _completed(rows, row_id) and row_id not in there and row_id not in deleted
        ]
        # What became complete meanwhile needs some of what was listed, too.
        late = read_holdings(repository, set(repository.backup_ids()) - set(there), committed)
        holdings.needed.update(late.needed | holdings.needed)
        holdings.manifests.update(late.manifests)
        running = (row.id for row in rows.values() if row.status is BackupStatus.PROCESSING)
        findings += presence.strangers(holdings, listing, frozenset(running))
    _remember_manifests(catalog, holdings, rows)
    return Survey(str(backup_id or ""), holdings, listing, findings)


def read_some(repository: Repository, catalog: Catalog, seen: Survey, subset: Subset) -> None:
    """Read the objects whose turn it is. The turn passes on when all of them were read; what was
    read before an error is remembered all the same. StoreError, CatalogError."""
    turn = catalog.turn(repository.repository_id, seen.scope, subset.slices)
    known = {finding.key for finding in seen.findings} | seen.read.keys()
    chosen = subset.chosen(seen.holdings.needed.values(), turn)
    wanted = [needed for needed in chosen if needed.key not in known]
    try:
        for needed, found in read_back(repository.store, wanted):
            seen.read[needed.key] = found is None
            if found is not None:
                seen.findings.append(found)
    finally:
        catalog.record_read(repository.repository_id, seen.read)
    next_turn = subset.next_turn(turn)
    catalog.set_turn(repository.repository_id, seen.scope, subset.slices, next_turn)


def repair(installation: Installation, seen: Survey, *, put_back: bool) -> None:
    """Tell of each part that is damaged or missing whether the source still holds its rows; with
    `put_back`, put those back. StoreError, CatalogError."""
    if put_back:
        require_ours(installation.repository, installation.catalog)
    repairing = Repairing(
        installation.repository,
        installation.source,
        installation.settings.convault_part_bytes,
        put_back,
    )
    before = {finding.key: finding.hurts for finding in seen.findings}
    seen.findings = repairing.of(seen.holdings, seen.findings)
    mended = {f.key: True for f in seen.findings if before[f.key] and f.repair and not f.hurts}
    installation.catalog.record_read(installation.repository.repository_id, mended)


def concluded(repository: Repository, catalog: Catalog, seen: Survey) -> Verification:
    """The result; what is no longer there is forgotten. CatalogError."""
    reads = catalog.objects_read(repository.repository_id)
    needed = seen.holdings.needed
    if not seen.scope:
        gone = reads.keys() - seen.listing.keys()
        catalog.record_read(repository.repository_id, {}, gone)
    read = [needed[key] for key in seen.read]
    return Verification(
        store=repository.store.url,
        backups=tuple(sorted({*seen.holdings.manifests, *seen.holdings.unreadable})),
        objects=len(needed) + len(seen.holdings.manifests),
        bytes=sum(n.size for n in needed.values()),
        read_objects=len(read),
        read_bytes=sum(n.size for n in read),
        oldest_unread=_oldest(seen, reads),
        set_aside=sum(key.startswith("damaged/") for key in seen.listing),
    ).with_findings(seen.findings)


def verify(
    installation: Installation,
    backup_id: UUID | None = None,
    *,
    subset: Subset | None = None,
    put_back: bool = False,
) -> Verification:
    """All of it. Errors are those of the steps; what is found is in the result."""
    repository, catalog = installation.repository, installation.catalog
    seen = survey(repository, catalog, backup_id, installation.signing)
    if subset is not None:
        read_some(repository, catalog, seen, subset)
    repair(installation, seen, put_back=put_back)
    return concluded(repository, catalog, seen)


def require_sound(found: Verification) -> None:
    """VerificationFailed when a backup cannot be restored as it is."""
    hurting = [finding for finding in found.findings if finding.hurts]
    if not hurting:
        return
    keys = ", ".join(finding.key for finding in hurting[:3])
    more = f" and {len(hurting) - 3} more" if len(hurting) > 3 else ""
    touched = {backup for finding in hurting for backup in finding.backups}
    remedy = (
        "`convault verify --repair` puts back what the source still holds"
        if any(finding.repair for finding in hurting)
        else "Put it back from a copy of the repository"
    )
    raise VerificationFailed(
        f"{len(hurting)} objects that {len(touched)} backups need are damaged or missing: {keys}"
        f"{more}. {remedy}; then back up again.",
        store=found.store,
    )


def _completed(rows: Mapping[UUID, BackupRecord], backup_id: UUID) -> bool:
    row = rows.get(backup_id)
    return row is not None and row.status is BackupStatus.COMPLETED


def _remember_manifests(
    catalog: Catalog, holdings: Holdings, rows: Mapping[UUID, BackupRecord]
) -> None:
    """Rows of before the digest was kept get that of the manifest as it is now."""
    for backup_id, digest in holdings.digests.items():
        if _completed(rows, backup_id) and rows[backup_id].manifest_sha256 is None:
            catalog.update(backup_id, manifest_sha256=digest)


def _oldest(seen: Survey, reads: Mapping[str, datetime]) -> Unread | None:
    bad = {finding.key for finding in seen.findings if finding.kind is FindingKind.DAMAGED}
    ages: Sequence[Unread] = [
        Unread(key, max(reads.get(key, info.modified), info.modified))
        for key, info in seen.listing.items()
        if key in seen.holdings.needed and key not in bad
    ]
    return min(ages, key=lambda unread: unread.since, default=None)
