"""The look that is taken every few minutes: it also finds what no run is there to tell."""

from __future__ import annotations

from collections.abc import Sequence

from convault.catalog import open_catalog
from convault.errors import ConvaultError
from convault.installation import open_installation
from convault.notify.channels import Channel
from convault.notify.reporting import look
from convault.notify.telling import Watched
from convault.reconcile import reconcile
from convault.settings import Settings


def watch(settings: Settings, through: Sequence[Channel]) -> Watched:
    """Put the rows of runs that are gone right, where that can be done, look, and tell.
    CatalogError, which was told, too."""
    _settle(settings)
    return look(settings, through)


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
