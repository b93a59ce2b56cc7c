"""README.txt, schema.sql and the index made anew, from what a manifest says and from the parts.

As with parts, the result alone tells whether it is right: it has the digest that the manifest
names, or it is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from convault import schema
from convault.encryption.age import SUFFIX
from convault.errors import ConvaultError
from convault.manifest import IndexEntry, Manifest, MemberEntry, ReadingEntry
from convault.models import BackupOptions
from convault.per_page import Missing, Reading
from convault.readme import encrypted as readme_encrypted
from convault.readme import text as readme
from convault.repository import Repository
from convault.restore.outline import dataset_of
from convault.verification.holdings import Holdings
from convault.verification.indexing import index_again

_COPY = "put it back from a copy of the repository, or back up again"


@dataclass(frozen=True, slots=True)
class Origin:
    """A file beside a manifest, or a shared index, and the backup that wrote it."""

    manifest: Manifest | None
    """None where the backup that wrote a shared index is there no longer"""
    entry: MemberEntry | IndexEntry


def origins_of(holdings: Holdings) -> dict[str, Origin]:
    """Everything of the kind that the backups need, by key."""
    found: dict[str, Origin] = {}
    for manifest in holdings.manifests.values():
        entries: list[MemberEntry | IndexEntry] = [*manifest.members, *manifest.all_indexes]
        for entry in entries:
            wrote = entry not in manifest.indexes
            if wrote or entry.key not in found:
                found[entry.key] = Origin(manifest if wrote else None, entry)
    return found


def made_again(repository: Repository, origin: Origin) -> bytes | str:
    """The bytes that the manifest names, or in words why they cannot be made and what to do.

    For an index every part that its backup wrote is read, one at a time. StoreError.
    """
    manifest, entry = origin.manifest, origin.entry
    if entry.key.endswith(SUFFIX):
        return f"it is encrypted, and encryption makes other bytes every time: {_COPY}"
    if manifest is None:
        return f"the backup that made it is there no longer, or not looked at: {_COPY}"
    try:
        if isinstance(entry, IndexEntry):
            data = index_again(repository, manifest)
        elif entry.path == "schema.sql":
            data = schema.as_script(manifest.statements)
        else:
            data = _readme(manifest)
    except ConvaultError as error:
        if error.transient:
            raise
        return f"it cannot be made again ({error.message}): {_COPY}"
    if sha256(data).hexdigest() != entry.sha256:
        return f"this version, or its libraries, makes other bytes of it: {_COPY}"
    return data


def _readme(manifest: Manifest) -> bytes:
    opening = b"" if manifest.encryption is None else readme_encrypted.text(manifest.backup_id)
    readings = {t.name: _reading(t.reading) for t in manifest.tables if t.reading}
    return opening + readme.text(
        manifest.backup_id,
        manifest.created_at,
        dataset_of(manifest),
        BackupOptions.parse(manifest.options),
        manifest.selection,
        readings or None,
    )


def _reading(told: ReadingEntry) -> Reading:
    return Reading(
        told.first_page_at.isoformat(),
        told.last_page_at.isoformat(),
        told.counted_before,
        told.counted_after,
        told.late,
        told.gone,
        tuple(Missing(gap.columns, gap.references, gap.values) for gap in told.missing),
    )
