"""Which backup `latest` is: the newest that holds everything.

Whoever restores the latest backup on a bad day means all of the data. One that was made with a
filter, of some tables or without messages may be newer, and has to be named by its id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from convault.catalog.base import BackupStatus, Catalog
from convault.dataset.filters import described, is_full
from convault.errors import NotFoundError

if TYPE_CHECKING:
    from convault.manifest import Manifest

_SHOWN = 3
"""ids of filtered backups that an error shows"""


def newest_full(catalog: Catalog) -> UUID:
    """The newest completed backup that no filter made. NotFoundError, which names filtered ones
    where there is no other."""
    records = catalog.list(status=BackupStatus.COMPLETED)
    for record in records:
        if is_full(record.options):
            return record.id
    if not records:
        raise NotFoundError("There is no completed backup yet: run `convault backup`.")
    raise _only_filtered((str(record.id), described(record.options)) for record in records)


def newest_of(manifests: Iterable[Manifest], store: str) -> Manifest:
    """The same, of manifests that could be read in the repository at `store`."""
    ordered = sorted(manifests, key=lambda manifest: manifest.created_at, reverse=True)
    for manifest in ordered:
        if is_full(manifest.options):
            return manifest
    if not ordered:
        raise NotFoundError(f"There is no backup in {store} that can be read.")
    raise _only_filtered((str(m.backup_id), described(m.options)) for m in ordered)


def _only_filtered(found: Iterable[tuple[str, str]]) -> NotFoundError:
    listed = [f"{backup_id} ({what})" for backup_id, what in found]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return NotFoundError(
        "`latest` is the newest backup of everything, and there are only such as hold a part: "
        f"{', '.join(listed[:_SHOWN])}{more}. Name the one that you want by its id, or make a full "
        "one with `convault backup`."
    )
