"""What of a database a backup is asked to hold: the settings' part of it and the options'."""

from __future__ import annotations

from dataclasses import dataclass

from convault.models import BackupOptions, TableName
from convault.settings import Settings


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the dataset starts, and what must be in it."""

    root: TableName
    messages: TableName
    """the table that must be there, or nothing is backed up"""


def scope_of(settings: Settings, options: BackupOptions) -> Scope:
    """What the settings and the options of one backup ask for together."""
    return Scope(root=settings.root_table, messages=settings.messages_table)
