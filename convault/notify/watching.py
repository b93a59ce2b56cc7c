"""The look that is taken every few minutes: it also finds what no run is there to tell."""

from __future__ import annotations

from collections.abc import Sequence

from convault.catalog import open_catalog
from convault.copies import lags
from convault.errors import CatalogError, ConvaultError
from convault.incidents import Kind, Notice
from convault.installation import open_installation
from convault.notify.channels import Channel
from convault.notify.lagging import lagging
from convault.notify.reporting import look
from convault.notify.telling import Watched
from convault.reconcile import reconcile
from convault.settings import Settings


def watch(settings: Settings, through: Sequence[Channel]) -> Watched:
    """Put the rows of runs that are gone right, where that can be done, look, and tell.
    CatalogError, which was told, too."""
    _settle(settings)
    try:
        behind = _behind(settings)
    except CatalogError:
        return look(settings, through)  # which says so
    return look(settings, through, others=behind, looked_at=[Kind.COPY])


def _behind(settings: Settings) -> list[Notice]:
    """Of the copies that CONVAULT_STORE_<NAME>_URL names. CatalogError."""
    if not settings.store_names:
        return []
    catalog = open_catalog(settings.catalog_url())
    repository_id = catalog.repository_id()
    if repository_id is None:
        return []
    known, rows = catalog.copies(repository_id), catalog.list()
    return lagging(
        lags(
            settings.store_names, known, rows, catalog.now(), repository_id,
            late=settings.copy_late,
        )
    )  # fmt: skip


def _settle(settings: Settings) -> None:
    """A run that was killed after its manifest was written is a backup, and not a crash. The store
    is asked only when a run is gone."""
    try:
        if open_catalog(settings.catalog_url()).abandoned():
            installation = open_installation(settings)
            reconcile(installation.repository, installation.catalog)
    except ConvaultError:
        # Of the catalog the look says so; while the store cannot be asked, it is a crash.
        return
