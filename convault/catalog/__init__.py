"""Where it is written down which backups there are."""

from __future__ import annotations

from convault.catalog.base import AuditEntry, BackupRecord, BackupStatus, Catalog, Lease, Recipient
from convault.catalog.postgres import PostgresCatalog

__all__ = [
    "AuditEntry",
    "BackupRecord",
    "BackupStatus",
    "Catalog",
    "Lease",
    "Recipient",
    "open_catalog",
]


DATA_API = "supabase"
"""what CONVAULT_CATALOG_URL says for a catalog over a Supabase project's Data API"""


def open_catalog(url: str, *, kept: int = 0) -> Catalog:
    """The catalog at `url`: postgresql://..., or `supabase` for the Data API of the project of
    SUPABASE_URL, opened with SUPABASE_SERVICE_ROLE_KEY. ConfigurationError when the URL cannot be
    read, or project or key are not what they should be; nothing is connected yet. So many of
    Postgres' sessions are `kept` for later calls."""
    if url != DATA_API:
        return PostgresCatalog(url, kept=kept)
    # Only where it is wanted: it costs a fifth of a second.
    from convault.catalog.supabase import SupabaseCatalog
    from convault.project import project

    return SupabaseCatalog(project())
