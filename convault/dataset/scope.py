"""What of a database a backup is asked to hold: the settings' part of it and the options'."""

from __future__ import annotations

from dataclasses import dataclass, field

from convault.dataset.declared import DeclaredRelation
from convault.dataset.filters import Filters
from convault.dataset.masking import MaskKey, mask_key
from convault.dataset.period import instants
from convault.models import BackupOptions, Mask, TableName
from convault.settings import Settings


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the dataset starts, what must be in it, and which rows of it are wanted."""

    root: TableName
    messages: TableName
    """the table that must be there, or nothing is backed up"""
    include_messages: bool = True
    relations: tuple[DeclaredRelation, ...] = ()
    """that the schema does not declare"""
    tables: tuple[str, ...] = ()
    """patterns of the tables that are wanted instead of the root and what belongs to it"""
    filters: Filters = field(default_factory=Filters)
    exclude_tables: tuple[str, ...] = ()
    """patterns, see `convault.dataset.exclusion`"""
    exclude_columns: tuple[str, ...] = ()
    mask_columns: tuple[tuple[str, Mask], ...] = ()
    mask_key: MaskKey | None = field(default=None, repr=False)
    """there when a column is to be hashed"""
    include_users: bool = False
    include_attachments: bool = False
    """whether the files that rows point at are wanted, too"""


def scope_of(settings: Settings, options: BackupOptions) -> Scope:
    """What the settings and the options of one backup ask for together. OptionsError when a date
    cannot be, in CONVAULT_TIMEZONE, or the last is before the first; ConfigurationError when
    columns are to be hashed and CONVAULT_MASK_KEY is not set, or is no key."""
    zone = settings.convault_timezone
    hashed = "hash" in options.mask_columns.values()
    return Scope(
        root=settings.root_table,
        messages=settings.messages_table,
        include_messages=options.include_messages,
        relations=settings.relations,
        tables=options.tables or (),
        filters=Filters(
            conversation_ids=options.conversation_ids or (),
            period=instants(options.start_date, options.end_date, zone),
            status=options.status or (),
            channel_ids=options.channel_ids or (),
            participant_ids=options.participant_ids or (),
            created_column=settings.convault_created_column,
            status_column=settings.convault_status_column,
            channel_column=settings.convault_channel_column,
            participants=settings.participants,
            zone=zone.key,
        ),
        exclude_tables=options.exclude_tables,
        exclude_columns=options.exclude_columns,
        mask_columns=tuple(options.mask_columns.items()),
        mask_key=mask_key(settings.convault_mask_key) if hashed else None,
        include_users=options.include_users,
        include_attachments=options.include_attachments,
    )
