"""`convault restore`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import progress
from cli.identities import Identities, identities_of
from cli.named_store import read_from
from cli.output import AsJson, print_json, say
from cli.restore_from import Source, require_name, source_of
from cli.restored import as_json as result_as_json
from cli.restored import tell, tell_undone, undone_as_json
from cli.signatures import say_signature
from cli.target import url_of_target
from convault.errors import ConfigurationError, OptionsError, RestoredWithFaults
from convault.settings import Settings, load_settings

if TYPE_CHECKING:
    from convault.dataset.period import Period
    from convault.files.addresses import Address
    from convault.files.restoring import FilesPut
    from convault.restore.options import RestoreOptions


def restore(
    backup: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="An id, its first characters, or `latest`: the newest full one."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The database in CONVAULT_TARGET_<NAME>_URL."),
    ] = None,
    into_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A file that holds its URL; `-` is stdin."),
    ] = None,
    into: Annotated[
        str | None, typer.Option(metavar="URL", help="Its URL, if it carries no password.")
    ] = None,
    from_store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="A repository, as in CONVAULT_STORE_URL; no catalog is needed."
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME", help="The same, of CONVAULT_STORE_<NAME>_URL: a copy."
        ),
    ] = None,
    from_tar: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A tar that `convault download` wrote; no ID then."),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE", help="Only this table's rows; may be repeated."),
    ] = None,
    conversation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Only this conversation, by its primary key; may be repeated."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Only conversations created then or later: 2026-01-31[T08:00]."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only those created before; a day is included whole."),
    ] = None,
    created_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which column of the root table says when."),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make everything in this new schema, beside what lives."),
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(
            metavar="ROLE",
            help="Who is to own what is made, no superuser. Where the URL is a superuser's: the "
            "database's owner, or the role convault_owner, which is made for that.",
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="fail|skip|overwrite|replace",
            help="On live tables, what becomes of rows that are there already; `fail` stops.",
        ),
    ] = None,
    missing_users: Annotated[
        str | None,
        typer.Option(
            metavar="stop|null|skip|stub",
            help="What becomes of rows whose user (auth.users) is not there; `stop` stops.",
        ),
    ] = None,
    tolerate_constraints: Annotated[
        bool,
        typer.Option(
            "--tolerate-constraints",
            help="Keep the rows when an index or a constraint is refused (it becomes NOT VALID or "
            "is left out), or a generated column gets other values. Each is told, and the exit "
            "status is 61.",
        ),
    ] = False,
    data_only: Annotated[
        bool,
        typer.Option(
            "--data-only",
            help="Run no code of the archive: no functions, triggers, policies, checks, defaults.",
        ),
    ] = False,
    files: Annotated[
        bool,
        typer.Option(
            "--files",
            help="Put the Storage files back, too, into the project of SUPABASE_URL; of some rows "
            "those that they point at. --mode says what becomes of those that are there.",
        ),
    ] = False,
    files_bucket: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="All of them into this bucket instead of their own."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and change nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Agree to what would be asked, and ask nothing.")
    ] = False,
    undo: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Put back what the restore of that id replaced."),
    ] = None,
    identity: Identities = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Also when the archive is not signed, or wrongly: its code is shown."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup, or some of it: into an empty database, a new schema, or live tables.

    All in one transaction; digests are checked before a row is loaded. Into an empty database come
    types, tables, rows, sequences, keys, indexes, triggers, policies and grants; where the tables
    live already, rows alone, and no trigger fires for them. Without an option it asks for the URL.
    SQL of a backup never runs as a superuser: a plain role runs it and owns what it makes.

    Example: convault restore latest --target staging
    """
    settings = load_settings()
    if undo is not None:
        _undo(undo, url_of_target(settings, target=target, into=into, into_file=into_file),
              dry_run=dry_run, as_json=as_json)  # fmt: skip
        return
    from convault.restore.options import RestoreOptions

    period = _period(since, until, settings)
    given = {
        "tables": tuple(table or ()),
        "conversations": tuple(conversation or ()),
        "since": period.start,
        "until": period.end,
        "created_column": created_column or _created_column(settings),
        "into_schema": schema,
        "owner": owner,
        "mode": mode or "fail",
        "missing_users": missing_users,
        "tolerate_constraints": tolerate_constraints,
        "data_only": data_only,
        "files": files,
        "files_bucket": files_bucket,
        "dry_run": dry_run,
    }
    options = RestoreOptions.parse(given)
    from_store = read_from(settings, from_, from_store)
    if from_store is None and from_tar is None and backup is not None:
        settings.catalog_url()
    require_name(backup, from_tar=from_tar)
    url = url_of_target(settings, target=target, into=into, into_file=into_file)
    source = source_of(settings, backup, from_store=from_store, from_tar=from_tar)
    _restore(settings, source, url, options, identity, trust=trust, yes=yes, as_json=as_json)


def _period(since: str | None, until: str | None, settings: Settings) -> Period:
    """As `startDate` and `endDate` of a backup are read. OptionsError."""
    from convault.dataset.period import instants, parsed

    for option, text in (("--since", since), ("--until", until)):
        try:
            _ = None if text is None else parsed(text)
        except ValueError as error:
            raise OptionsError(f"What follows {option} {error}.") from None
    return instants(since, until, settings.convault_timezone)


def _created_column(settings: Settings) -> str | None:
    """What was set; None where nothing was, for the backup to tell."""
    default = type(settings).model_fields["convault_created_column"].default
    name = settings.convault_created_column
    return None if name == default else name


def _restore(
    settings: Settings, source: Source, url: str, options: RestoreOptions,
    identity: list[Path] | None, *, trust: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    from convault.restore.restoration import restore_from
    from convault.restore.trust import admit

    def confirm(question: str) -> bool:
        say(question)
        if yes or not sys.stdin.isatty():
            return yes
        return typer.confirm("Go on?", err=True)

    signature = settings.signing.check(source.stored_manifest, superseded=source.superseded)
    say_signature(signature, source.stored_manifest, settings.signing)
    trusted = admit(source.manifest, signature, options, trust=trust, confirm=confirm)
    identities = identities_of(settings, identity) if source.manifest.encryption else ()
    with progress.shown():
        puts: list[FilesPut] = []
        if options.files:
            from convault.files.restoring import put_back, require_files

            require_files(source.manifest)

        def put_files(only: frozenset[Address] | None) -> None:
            puts.append(
                put_back(settings, source.store, source.manifest, identities, options, only)
            )

        result = restore_from(
            source.store, source.manifest, url, options,
            identities=identities, trusted=trusted, confirm=confirm, put_files=put_files,
        )  # fmt: skip
    if as_json:
        told = {"files": puts[0].to_json()} if puts else {}
        print_json({**result_as_json(source.manifest, result), **told, "signature": signature})
    else:
        for line in (line for put in puts for line in put.lines()):
            say(line)
        tell(source.manifest, result)
    if not result.complete:
        raise RestoredWithFaults(
            "All rows were restored, but not everything that holds for them: the faults are named "
            "above."
        )


def _undo(text: str, url: str, *, dry_run: bool, as_json: bool) -> None:
    from uuid import UUID

    from convault.restore.undo import undo

    try:
        restore_id = UUID(text)
    except ValueError:
        raise ConfigurationError(
            "What follows --undo is the id that the restore told when it ended."
        ) from None
    changes = undo(url, restore_id, dry_run=dry_run)
    if as_json:
        print_json(undone_as_json(restore_id, changes, dry_run=dry_run))
    else:
        tell_undone(changes, dry_run=dry_run)
