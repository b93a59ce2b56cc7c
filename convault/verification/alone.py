"""A verification of a repository with no catalog: of a copy, when the first one may be gone."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from convault.repository import Repository
from convault.signing.signature import SigningKeys
from convault.trash import trashed
from convault.verification import presence
from convault.verification.findings import Verification
from convault.verification.holdings import add_trash, read_holdings
from convault.verification.reading import Subset, read_back


def verify_alone(
    repository: Repository,
    keys: SigningKeys,
    backup_id: UUID | None = None,
    *,
    subset: Subset | None = None,
) -> Verification:
    """Look up what all backups need, or what one needs, and read `subset` of it. Nobody remembers
    here whose turn it is: each day other slices are read. StoreError."""
    there = repository.backup_ids()
    holdings = read_holdings(repository, there if backup_id is None else [backup_id], {}, keys)
    if backup_id is None:
        add_trash(holdings, repository, set(trashed(repository)) - set(there), {}, {})
    listing = {info.key: info for info in repository.store.list()}
    findings = holdings.findings + list(presence.faults(holdings, listing))
    if backup_id is None:
        findings += presence.strangers(holdings, listing)
    read = []
    if subset is not None:
        known = {finding.key for finding in findings}
        day = datetime.now(UTC).toordinal()
        chosen = subset.chosen(holdings.needed.values(), day * subset.taken % subset.slices)
        for needed, fault in read_back(
            repository.store, [needed for needed in chosen if needed.key not in known]
        ):
            read.append(needed)
            if fault is not None:
                findings.append(fault)
    return Verification(
        store=repository.store.url,
        backups=tuple(sorted({*holdings.manifests, *holdings.unreadable})),
        objects=len(holdings.needed) + len(holdings.manifests),
        bytes=sum(needed.size for needed in holdings.needed.values()),
        read_objects=len(read),
        read_bytes=sum(needed.size for needed in read),
        set_aside=sum(key.startswith("damaged/") for key in listing),
    ).with_findings(findings)
