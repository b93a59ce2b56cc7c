"""`convault delete`, `undelete`, `pin`, `unpin` and `acknowledge`."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli import progress
from cli.ending import ended_properly
from cli.identify import BackupName, backup_named
from cli.listing import as_object
from cli.opening import opened
from cli.output import AsJson, number, print_json, say, size
from convault.errors import OptionsError
from convault.settings import load_settings

if TYPE_CHECKING:
    from convault.catalog import BackupRecord
    from convault.retention.audited import Actor


def actor() -> Actor:
    """Who runs this command."""
    from convault.retention.audited import Actor

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return Actor(name, "cli")


def delete(
    backup: BackupName,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also the last good one of its kind; needs the full id."),
    ] = False,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Erase it at once and for good; needs the full id."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move a backup to the trash: it is gone from lists, and can be taken back for some days.

    Refused for a pinned one, and for the last good one of its kind.

    Example: convault delete 3f9c2a71
    """
    from convault.copies import remaining
    from convault.retention import operating, sweeping

    installation = opened(load_settings())
    backup_id = backup_named(installation, backup)
    if (force or purge) and backup.lower() not in (str(backup_id), backup_id.hex):
        raise OptionsError(
            "With --force or --purge, write the full id of the backup; `convault show` tells it."
        )
    repository, catalog = installation.repository, installation.catalog
    with ended_properly(), progress.shown():
        row = operating.delete(repository, catalog, backup_id, actor(), force=force)
        erased = sweeping.purge(repository, catalog, backup_id, actor()) if purge else None
        copies = remaining(catalog.copies(repository.repository_id), backup_id) if purge else []
    if as_json:
        found = None if erased is None else erased.to_json()
        print_json({"backup": as_object(row), "purged": found, "copies": copies})
    elif erased is None:
        print(row.id)
        days = installation.settings.convault_trash_days
        say(f"In the trash for {days:g} days: `convault undelete {row.id}` takes it back.")
    else:
        print(row.id)
        say(
            f"Erased from {erased.store}: {number(len(erased.erased))} objects, "
            f"{size(erased.erased_bytes)}. {number(len(erased.shared))} of its objects are parts "
            "of other backups too, and stay with them. Downloads that somebody has are not known "
            "here."
        )
        if copies:
            say(
                f"Something of it is still in {', '.join(copies)}: `convault copy` erases it "
                "there, at the latest when it runs next."
            )


def undelete(backup: BackupName, as_json: AsJson = False) -> None:
    """Take a backup back from the trash.

    Example: convault undelete 3f9c2a71-8d52-4a0e-9d35-5a4f0c2b7e10
    """
    from convault.retention import operating

    installation = opened(load_settings())
    backup_id = backup_named(installation, backup)
    row = operating.undelete(installation.repository, installation.catalog, backup_id, actor())
    _tell(row, f"Backup {row.id} is {row.status} again.", as_json)


def pin(
    backup: BackupName,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it must stay; people read it.")],
    as_json: AsJson = False,
) -> None:
    """Let a backup stay, whatever a policy says, until it is unpinned.

    Example: convault pin latest --reason audit-2026
    """
    from convault.retention import operating

    installation = opened(load_settings())
    row = operating.pin(installation.catalog, backup_named(installation, backup), reason, actor())
    _tell(row, f"Backup {row.id} is pinned.", as_json)


def unpin(backup: BackupName, as_json: AsJson = False) -> None:
    """Let policies decide about a backup again.

    Example: convault unpin 3f9c2a71
    """
    from convault.retention import operating

    installation = opened(load_settings())
    row = operating.unpin(installation.catalog, backup_named(installation, backup), actor())
    _tell(row, f"Backup {row.id} is not pinned any more.", as_json)


def acknowledge(backup: BackupName, as_json: AsJson = False) -> None:
    """Say that a backup's rows are as they should be, though a table shrank.

    After a table lost half of its rows, no clean-up removes anything of that kind until this is
    said: older backups may be the only good ones.

    Example: convault acknowledge latest
    """
    from convault.retention import operating

    installation = opened(load_settings())
    backup_id: UUID = backup_named(installation, backup)
    row = operating.acknowledge(installation.catalog, backup_id, actor())
    _tell(row, f"Backup {row.id} is the one that later ones are held against.", as_json)


def _tell(row: BackupRecord, message: str, as_json: bool) -> None:
    if as_json:
        print_json(as_object(row))
    else:
        say(message)
