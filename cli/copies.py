"""`convault copy` and `convault copies`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import progress
from cli.ending import ended_properly
from cli.opening import opened
from cli.output import AsJson, duration, moment, number, print_json, print_table, say, size
from cli.retention import actor
from convault.settings import load_settings

if TYPE_CHECKING:
    from convault.replication.replicated import Replicated


def copy(
    to: Annotated[
        str, typer.Option("--to", metavar="NAME", help="The store in CONVAULT_STORE_<NAME>_URL.")
    ],
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Read everything that the copy holds, too, and replace what is damaged there.",
        ),
    ] = False,
    new: Annotated[
        bool,
        typer.Option("--new", help="Begin anew where an earlier copy, or a backup of it, is gone."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what would travel and what would leave; an empty place is only marked as a "
            "copy.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a copy of the repository up to date: in another folder, bucket, region or provider.

    Only what is missing travels; each object is proven by its digest when it arrived. What was
    purged leaves the copy, what was deleted goes to its trash, unless the copy has rules of its own
    (CONVAULT_STORE_<NAME>_KEEP). Killed anywhere, the next run goes on.

    Example: convault copy --to offsite
    """
    from convault.replication.replicating import Replication, replicate
    from convault.replication.wanted import copy_wanted

    settings = load_settings()
    wanted = copy_wanted(settings, to)
    installation = opened(settings)
    with ended_properly(), progress.shown():
        replication = Replication(installation, wanted, actor(), new=new, check=check)
        if not dry_run:
            done = replicate(replication)
    if dry_run:
        done = replication.done
        leaving = [*replication.plan.leaving, *replication.own_leaving]
        if as_json:
            print_json(
                {
                    **done.to_json(),
                    "wouldPurge": [str(one) for one in replication.plan.purging],
                    "wouldTrash": [str(one) for one in leaving],
                }
            )
        else:
            say(
                f"{number(len(done.pending))} backups would be copied, {number(len(leaving))} "
                f"deleted and {number(len(replication.plan.purging))} purged in {done.url}."
            )
    elif as_json:
        print_json(done.to_json())
    else:
        _tell(done)


def copies(as_json: AsJson = False) -> None:
    """Show each copy of the repository: what it lacks, what it should not hold, and its age.

    Asks the catalog alone. A copy is red until its next run when it lacks a backup for too long, or
    holds one that was deleted or purged.

    Example: convault copies
    """
    from convault.copies import lags

    settings = load_settings()
    installation = opened(settings)
    catalog, repository_id = installation.catalog, installation.repository.repository_id
    known = catalog.copies(repository_id)
    names = dict.fromkeys([*settings.store_names, *(one.name for one in known)])
    found = lags(
        names, known, catalog.list(), catalog.now(), repository_id, late=settings.copy_late
    )
    if as_json:
        print_json([one.to_json() for one in found])
        return
    if not found:
        say("There is no copy: name a store in CONVAULT_STORE_<NAME>_URL, and run `convault copy`.")
        return
    print_table(
        ("name", "state", "lacks", "for", "to leave", "newest", "complete", "where"),
        [
            (
                one.name,
                one.state,
                number(len(one.missing)),
                duration(one.seconds) if one.missing else "",
                number(len(one.holding)),
                moment(one.newest, settings.convault_timezone),
                moment(one.succeeded_at, settings.convault_timezone),
                one.url,
            )
            for one in found
        ],
    )
    for one in found:
        if one.error:
            say(f"{one.name}: {one.error}")


def _tell(done: Replicated) -> None:
    say(
        f"{number(len(done.copied))} backups copied to {done.url}: "
        f"{number(done.brought.objects)} objects, {size(done.brought.bytes)}."
    )
    if done.brought.repaired:
        say(
            f"{number(done.brought.repaired)} objects were damaged there, and are replaced; what "
            "was there is kept under damaged/."
        )
    if done.passed_over:
        say(f"{number(len(done.passed_over))} are not kept by the copy's own rules.")
    if done.purged:
        say(f"{number(len(done.purged))} backups that were purged are erased there.")
    if done.left:
        say(f"{number(len(done.left))} went to the trash there.")
    if done.unexplained:
        say(
            f"{number(len(done.unexplained))} backups are only there, and nothing says that they "
            "were deleted: they stay. If the first repository lost them, restore from the copy."
        )
