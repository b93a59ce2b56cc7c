"""What every command but `demo` works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convault.settings import Settings

if TYPE_CHECKING:
    from convault.installation import Installation


def opened(settings: Settings) -> Installation:
    """The installation that the settings name; the errors of `open_installation`."""
    from convault.installation import open_installation

    # The database is asked for first: the message names the demo, which needs no settings at all.
    settings.catalog_url()
    return open_installation(settings)
