"""`convault cleanup`, `sweep`, `adopt` and `audit`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli import progress
from cli.ending import ended_properly
from cli.identify import shortened
from cli.opening import opened
from cli.output import AsJson, moment, number, print_json, print_table, say, size
from cli.restore_from import open_alone
from cli.retention import actor
from convault.errors import BusyError, OptionsError
from convault.settings import Settings, load_settings

if TYPE_CHECKING:
    from convault.installation import Installation
    from convault.retention.sweeping import Swept

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would go and why; change nothing.")
]


def cleanup(
    keep_last: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the newest N of each kind.")
    ] = None,
    keep_hourly: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the newest of each of N hours.")
    ] = None,
    keep_daily: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the newest of each of N days.")
    ] = None,
    keep_weekly: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the newest of each of N weeks.")
    ] = None,
    keep_monthly: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the newest of each of N months.")
    ] = None,
    keep_yearly: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the newest of each of N years.")
    ] = None,
    keep_within: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Keep what is younger: 36h, 30d, 8w, 6m, 2y.")
    ] = None,
    keep_at_most: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Keep nothing that is older.")
    ] = None,
    minimum_good: Annotated[
        int | None, typer.Option(metavar="N", help="Good ones of each kind that always stay.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Only what is older goes; days, or a span.")
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="Only completed or failed ones go. Repeatable.")
    ] = None,
    keep_count: Annotated[
        int | None, typer.Option(metavar="N", help="The newest N of each kind and status stay.")
    ] = None,
    no_limit: Annotated[
        bool,
        typer.Option("--no-limit", help="Let more than a third of a kind's good ones go at once."),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Move the backups that no rule keeps to the trash, and sweep what nobody needs.

    Without rules, those of CONVAULT_KEEP_* count. Kept always: the last good one of each kind, the
    last that a drill proved, pinned ones.

    Example: convault cleanup --keep-daily 7 --keep-monthly 12 --dry-run
    """
    from convault.reconcile import reconcile
    from convault.retention import cleaning
    from convault.retention.configured import policy_of
    from convault.retention.deciding import LIMITED

    given = {
        "keep_last": keep_last, "keep_hourly": keep_hourly, "keep_daily": keep_daily,
        "keep_weekly": keep_weekly, "keep_monthly": keep_monthly, "keep_yearly": keep_yearly,
        "keep_within": keep_within, "keep_at_most": keep_at_most, "minimum_good": minimum_good,
        "older_than": older_than, "status": status, "keep_count": keep_count,
    }  # fmt: skip
    settings = load_settings()
    policy = policy_of(settings, given)
    installation = opened(settings)
    repository, catalog = installation.repository, installation.catalog
    with ended_properly(), progress.shown():
        if not dry_run:
            reconcile(repository, catalog)
        found = cleaning.plan(
            repository, catalog, policy, settings.convault_timezone,
            unattended=not no_limit, dry_run=dry_run,
        )  # fmt: skip
        swept, why = None, ""
        if not dry_run:
            found = cleaning.apply(repository, catalog, found, actor())
        try:
            swept = _sweep(installation, dry_run=dry_run)
        except BusyError as error:
            why = error.message
    if as_json:
        sweep_ = None if swept is None else swept.to_json()
        print_json({**found.to_json(), "sweep": sweep_})
        return
    short = shortened(decision.backup.id for decision in found.decisions)
    print_table(
        ("id", "taken", "what", "why"),
        [
            (
                short[d.backup.id],
                moment(d.backup.taken_at, settings.convault_timezone),
                ("would go" if dry_run else "goes") if d.goes else "stays",
                d.reason,
            )
            for d in found.decisions
        ],
    )
    gone = sum(decision.goes for decision in found.decisions)
    if gone and not dry_run:
        say(
            f"{number(gone)} moved to the trash, where `convault undelete` finds them for "
            f"{settings.convault_trash_days:g} days."
        )
    if any(decision.reason.startswith(LIMITED) for decision in found.decisions):
        say("--no-limit lets all of them go at once, since you look at it.")
    say(why or _told(swept))


def sweep(
    dry_run: DryRun = False,
    from_store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="A repository whose catalog is gone; needs --repository, too."
        ),
    ] = None,
    repository: Annotated[
        UUID | None,
        typer.Option(metavar="ID", help="Its id: whoever backed up there has to adopt it anew."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove what no backup needs: objects that no manifest names, and what left the trash.

    An object goes when it has been unneeded for CONVAULT_SWEEP_GRACE hours. Never while a backup
    runs, and never when it is not certain what is needed.

    Example: convault sweep --dry-run
    """
    settings = load_settings()
    with ended_properly(), progress.shown():
        if from_store is None:
            swept = _sweep(opened(settings), dry_run=dry_run)
        else:
            swept = _sweep_alone(settings, from_store, repository, dry_run=dry_run)
    if as_json:
        print_json(swept.to_json())
    else:
        say(_told(swept))


def _sweep_alone(settings: Settings, url: str, typed: UUID | None, *, dry_run: bool) -> Swept:
    from convault.retention.configured import grace_of, trash_of
    from convault.retention.uncatalogued import require_typed, sweep_without_catalog

    if settings.has_catalog:
        raise OptionsError(
            "--from-store is for a repository whose catalog is gone, and there is a catalog here "
            "(CONVAULT_CATALOG_URL, DATABASE_URL or a Supabase project): run `convault init`, "
            "`convault adopt` and `convault sweep`, which keeps away from running backups."
        )
    found = open_alone(url)
    grace = grace_of(settings)
    if not dry_run:
        require_typed(found, typed)
    return sweep_without_catalog(
        found, grace=grace, longest=timedelta(hours=settings.convault_max_hours),
        trash=trash_of(settings), dry_run=dry_run,
    )  # fmt: skip


def adopt(
    copy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The copy in CONVAULT_STORE_<NAME>_URL instead: from now on it is this "
            "installation's to write, and nobody backs up into it.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Be the installation that writes to the repository, in another one's place.

    The other one is refused from then on. Reading needs no adoption. A copy that is adopted takes
    the place of the first repository.

    Example: convault adopt
    """
    from convault import adoption
    from convault.replication.place import adopt_copy
    from convault.retention.audited import audited

    settings = load_settings()
    installation = opened(settings)
    repository, catalog = installation.repository, installation.catalog
    if copy is not None:
        url = settings.named_store_url(copy)
        with audited(catalog, actor(), "adopt") as note:
            changed = adopt_copy(repository, catalog, copy, url)
            note.detail = f"the copy {copy}" + ("" if changed else ": it was ours already")
        if as_json:
            print_json({"copy": copy, "changed": changed})
        else:
            say(f"The copy {copy} is this installation's{' now' if changed else ' already'}.")
        return
    with audited(catalog, actor(), "adopt") as note:
        before = repository.installation_id
        changed = adoption.adopt(repository, catalog)
        note.detail = f"from installation {before}" if changed else "it was ours already"
    if as_json:
        print_json({"repository_id": str(repository.repository_id), "changed": changed})
    else:
        done = "is this installation's now" if changed else "was this installation's already"
        say(f"{repository.store.url} {done}.")


def audit(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Entries at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who deleted, took back, pinned, swept or adopted what, when and from where.

    Example: convault audit --limit 20
    """
    settings = load_settings()
    entries = opened(settings).catalog.audited(limit)
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in entries])
        return
    print_table(
        ("when", "who", "from", "what", "backup", "result", "detail"),
        [
            (
                moment(entry.at, settings.convault_timezone), entry.actor, entry.origin,
                entry.action, str(entry.backup_id or ""), entry.result, entry.detail,
            )
            for entry in entries
        ],
    )  # fmt: skip


def _sweep(installation: Installation, *, dry_run: bool) -> Swept:
    from convault.retention import sweeping
    from convault.retention.configured import grace_of, trash_of

    grace = grace_of(installation.settings)
    return sweeping.sweep(
        installation.repository, installation.catalog, actor(),
        grace=grace, trash=trash_of(installation.settings), dry_run=dry_run,
    )  # fmt: skip


def _told(swept: Swept | None) -> str:
    if swept is None:
        return ""
    would = "would be removed" if swept.dry_run else "removed"
    left = f", {number(swept.left)} more next time" if swept.left else ""
    return (
        f"{number(swept.removed)} objects ({size(swept.removed_bytes)}) {would}{left}; "
        f"{number(swept.marked)} that nobody needs wait; {number(len(swept.expired))} backups "
        f"{'would leave' if swept.dry_run else 'left'} the trash."
    )
