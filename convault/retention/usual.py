"""How many rows tables had in earlier backups of the same kind."""

from __future__ import annotations

from uuid import UUID

from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.errors import NotFoundError, RepositoryError
from convault.models import BackupOptions
from convault.repository import Repository
from convault.retention.groups import asked_for
from convault.retention.shrinkage import COMPARED


def rows_before(
    catalog: Catalog, repository: Repository, backup_id: UUID, options: BackupOptions
) -> list[dict[str, int]]:
    """Rows by table in the last 7 complete backups of the same options, oldest first; from the last
    one that somebody acknowledged, if that is among them. The catalog knows them, and for backups
    of an older version their manifests. CatalogError, StoreError."""
    wanted = asked_for(options.to_json())
    found: list[dict[str, int]] = []
    for row in catalog.list(status=BackupStatus.COMPLETED):
        if row.id == backup_id or row.repository_id != repository.repository_id:
            continue
        if asked_for(row.options) != wanted:
            continue
        rows = _rows_of(row, repository)
        if rows is not None:
            found.append(rows)
        if len(found) == COMPARED or row.acknowledged_at is not None:
            break
    return found[::-1]


def _rows_of(row: BackupRecord, repository: Repository) -> dict[str, int] | None:
    """None where nobody can tell any more."""
    told = (row.metrics or {}).get("tables")
    if isinstance(told, dict):
        return {str(table): int(rows) for table, rows in told.items()}
    try:
        manifest = repository.manifest(row.id)
    except (NotFoundError, RepositoryError):
        return None  # lost or damaged, which a verification tells
    return {str(table.name): table.rows for table in manifest.tables}
