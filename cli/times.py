"""Moments, as people type them."""

from __future__ import annotations

from datetime import datetime

from convault.errors import OptionsError
from convault.settings import Settings


def moment_of(text: str | None, settings: Settings, option: str) -> datetime | None:
    """`2024-05-31`, `2024-05-31T18:00` or with a zone; without one it is in CONVAULT_TIMEZONE.
    OptionsError."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise OptionsError(
            f"What follows {option} is no time: write 2024-05-31 or 2024-05-31T18:00:00-03:00."
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=settings.convault_timezone)
