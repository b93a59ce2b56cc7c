"""What is there held against what is needed: by listing, without reading an object. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from convault import layout
from convault.stores.base import ObjectInfo
from convault.verification.findings import Finding, FindingKind
from convault.verification.holdings import Holdings, Needed

Listing = Mapping[str, ObjectInfo]
"""by key"""


def faults(holdings: Holdings, listing: Listing) -> Iterator[Finding]:
    """Objects that are needed and missing, or have another size than they should have."""
    for needed in holdings.needed.values():
        info = listing.get(needed.key)
        if info is None:
            yield fault(needed, None)
        elif info.size != needed.size:
            yield fault(needed, f"it has {info.size} bytes instead of {needed.size}")


def fault(needed: Needed, reason: str | None) -> Finding:
    """Something that is needed is damaged for that `reason`, or missing when there is none."""
    kind = FindingKind.MISSING if reason is None else FindingKind.DAMAGED
    return Finding(kind, needed.key, reason or "it is not there", tuple(needed.backups))


def strangers(
    holdings: Holdings, listing: Listing, running: frozenset[UUID] = frozenset()
) -> Iterator[Finding]:
    """Objects that no backup needs. `holdings` must be of every backup there is; `running` are
    backups that are being made."""
    if holdings.unreadable:
        why = "no readable manifest names it; one that cannot be read may"
    elif running:
        why = "no manifest names it; a backup that runs now may be storing it"
    else:
        why = "no manifest names it"
    old = "only a superseded revision of a manifest names it"
    for key in listing.keys() - holdings.needed.keys():
        revision = layout.revision_of(key)
        backup_id = layout.beside(key) if revision is None else revision[0]
        if key == layout.REPOSITORY_KEY or key.startswith((layout.DAMAGED, layout.SWEEP)):
            continue
        if layout.trashed_of(key) is not None:
            continue
        if backup_id in holdings.unreadable:
            continue
        if revision is not None and backup_id in holdings.manifests:
            continue  # superseded ones are kept
        if layout.is_part_key(key) or layout.is_file_key(key) or backup_id is not None:
            yield Finding(FindingKind.ORPHANED, key, old if key in holdings.superseded else why)
        else:
            yield Finding(FindingKind.UNKNOWN, key, "Convault stores nothing under such a key")
