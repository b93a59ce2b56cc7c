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


def open_catalog(url: str) -> Catalog:
    """The catalog at `url` (postgresql://...). ConfigurationError when the URL cannot be read;
    nothing is connected yet."""
    return PostgresCatalog(url)
