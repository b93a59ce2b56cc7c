"""`convault verify`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli import progress
from cli.ending import ended_properly
from cli.identify import backup_named, shortened
from cli.opening import opened
from cli.output import AsJson, duration, number, print_json, print_table, say, size
from convault.settings import load_settings

if TYPE_CHECKING:
    from convault.verification.findings import Verification


def verify(
    backup: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="One backup; without it, all of them."),
    ] = None,
    read_data: Annotated[
        str | None,
        typer.Option(
            metavar="N/T",
            help="Read N of T slices of the objects back, the next ones each time; or `all`.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Put back what can be made again, byte for byte."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that everything that the backups need is there.

    Presence and size of every object, by listing; with --read-data their bytes, too. What is
    damaged, missing, orphaned or unknown is told, with the backups that it touches. Ends with 0
    only when nothing that a backup needs is damaged or missing.

    Example: convault verify --read-data 1/8
    """
    from convault.incidents import Kind
    from convault.notify.reporting import reported
    from convault.notify.verified import judge
    from convault.verification.reading import Subset
    from convault.verification.verifying import require_sound, verify

    subset = None if read_data is None else Subset.parse(read_data)
    settings = load_settings()
    with reported(Kind.VERIFY, settings, say) as outcome:
        installation = opened(settings)
        backup_id = None if backup is None else backup_named(installation, backup)
        with ended_properly(), progress.shown():
            found = verify(installation, backup_id, subset=subset, put_back=repair)
        if as_json:
            print_json(found.to_json(datetime.now(UTC)))
        else:
            _tell(found)
        judge(outcome, found, installation, whole=backup_id is None)
        require_sound(found)


def _tell(found: Verification) -> None:
    short = shortened(found.backups)
    if found.findings:
        print_table(
            ("what", "object", "backups", "why", "repair"),
            [
                (
                    finding.kind,
                    finding.key,
                    ", ".join(short.get(b, str(b)) for b in finding.backups),
                    finding.reason,
                    finding.repair or "",
                )
                for finding in found.findings
            ],
        )
    say(
        f"{number(found.objects)} objects of {number(len(found.backups))} backups looked up, "
        f"{size(found.bytes)}; {number(found.read_objects)} read back, {size(found.read_bytes)}."
    )
    if found.oldest_unread is not None:
        age = (datetime.now(UTC) - found.oldest_unread.since).total_seconds()
        say(f"Longest unread: {found.oldest_unread.key}, for {_age(age)}.")
    if found.set_aside:
        say(f"{number(found.set_aside)} damaged objects are kept under damaged/.")
    if found.sound:
        say("Nothing that a backup needs is damaged or missing, as far as was looked.")


def _age(seconds: float) -> str:
    days = int(seconds // 86400)
    return f"{number(days)} days" if days > 1 else duration(max(0.0, seconds))
