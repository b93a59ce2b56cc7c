"""What of a database a backup is asked to hold: the settings' part of it and the options'."""

from __future__ import annotations

from dataclasses import dataclass, field

from convault.masking import MaskKey, mask_key
from convault.models import BackupOptions, Mask, TableName
from convault.settings import Settings


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the dataset starts, and what must be in it."""

    root: TableName
    messages: TableName
    """the table that must be there, or nothing is backed up"""
    exclude_tables: tuple[str, ...] = ()
    """patterns, see `convault.exclusion`"""
    exclude_columns: tuple[str, ...] = ()
    mask_columns: tuple[tuple[str, Mask], ...] = ()
    mask_key: MaskKey | None = field(default=None, repr=False)
    """there when a column is to be hashed"""
    include_users: bool = False

    @property
    def names_something(self) -> bool:
        """Whether something is asked for by a name that only the database can know."""
        return bool(
            self.exclude_tables or self.exclude_columns or self.mask_columns or self.include_users
        )


def scope_of(settings: Settings, options: BackupOptions) -> Scope:
    """What the settings and the options of one backup ask for together. ConfigurationError when
    columns are to be hashed and CONVAULT_MASK_KEY is not set, or is no key."""
    hashed = "hash" in options.mask_columns.values()
    return Scope(
        root=settings.root_table,
        messages=settings.messages_table,
        exclude_tables=options.exclude_tables,
        exclude_columns=options.exclude_columns,
        mask_columns=tuple(options.mask_columns.items()),
        mask_key=mask_key(settings.convault_mask_key) if hashed else None,
        include_users=options.include_users,
    )
