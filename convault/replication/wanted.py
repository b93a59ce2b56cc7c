"""What a copy is to be, as the settings say it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from convault.replication.rules import parse_rules
from convault.retention.configured import grace_of, trash_of
from convault.retention.policy import Policy
from convault.settings import Settings


@dataclass(frozen=True, slots=True)
class CopyWanted:
    """A store by name, and the rules for what it holds."""

    name: str
    url: str
    rules: Policy | None
    """None: deletions follow"""
    zone: ZoneInfo
    trash: timedelta
    grace: timedelta
    workers: int
    """objects on their way at the same time"""


def copy_wanted(settings: Settings, name: str) -> CopyWanted:
    """The copy in CONVAULT_STORE_<NAME>_URL. NotFoundError, ConfigurationError."""
    url = settings.named_store_url(name)
    name = name.lower().replace("_", "-")
    text = settings.copy_rules(name)
    variable = f"CONVAULT_STORE_{name.upper().replace('-', '_')}_KEEP"
    return CopyWanted(
        name,
        url,
        None if text is None else parse_rules(text, variable),
        settings.convault_timezone,
        trash_of(settings),
        grace_of(settings),
        settings.convault_copy_workers,
    )
