"""`convault list --from-store`: the backups of a repository, with no catalog and no settings."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING

from cli.identify import shortened
from cli.output import moment, number, print_json, print_table, printable, ratio, say, size
from convault.dataset.filters import described, is_full
from convault.errors import ConvaultError

if TYPE_CHECKING:
    from convault.manifest import Manifest

_NOT_FULL = "not what `latest` means, as it holds a part"


def list_store(url: str, zone: tzinfo, *, limit: int | None, as_json: bool) -> None:
    """Print them, the newest first. What cannot be read is told; the errors of opening a store and
    a repository pass."""
    from convault.repository import Repository
    from convault.stores import open_store

    repository = Repository.open(open_store(url))
    found: list[Manifest] = []
    for backup_id, manifest in repository.manifests():
        if isinstance(manifest, ConvaultError):
            say(f"Backup {backup_id} cannot be read: {printable(manifest.message)}")
        else:
            found.append(manifest)
    found.sort(key=lambda manifest: manifest.created_at, reverse=True)
    if as_json:
        print_json([_as_object(manifest) for manifest in found[:limit]])
    elif found:
        _print(found, limit, zone)
    else:
        say(f"There is no backup in {repository.store.url} that can be read.")


def _print(found: list[Manifest], limit: int | None, zone: tzinfo) -> None:
    short = shortened(manifest.backup_id for manifest in found)
    shown = found[:limit]
    columns = ("id", "created", "rows", "stored", "ratio", "encrypted", "consistency", "filter")
    print_table(
        columns,
        [
            (
                short[m.backup_id],
                moment(m.created_at, zone),
                number(m.rows),
                size(m.stored_bytes),
                ratio(m.plain_bytes, m.stored_bytes),
                "yes" if m.encryption is not None else "no",
                m.consistency,
                printable(described(m.options)),
            )
            for m in shown
        ],
        right=columns[2:5],
    )
    if any(not is_full(manifest.options) for manifest in shown):
        say(f"A backup with a filter is {_NOT_FULL}: name it by its id.")


def _as_object(manifest: Manifest) -> dict[str, object]:
    return {
        "id": str(manifest.backup_id),
        "created_at": manifest.created_at.isoformat(),
        "rows": manifest.rows,
        "plain_bytes": manifest.plain_bytes,
        "stored_bytes": manifest.stored_bytes,
        "encrypted": manifest.encryption is not None,
        "consistency": manifest.consistency,
        "options": manifest.options,
        "full": is_full(manifest.options),
    }
