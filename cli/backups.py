"""`convault backup`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic.alias_generators import to_camel

from cli import progress
from cli.listing import as_object, omissions, selection, summary, taken_over
from cli.opening import opened
from cli.output import AsJson, print_json, say
from cli.prefect_server import ensure_server, unwatched
from cli.refusals import refusals_told
from convault.catalog.base import BackupRecord, BackupStatus, Guard
from convault.errors import BusyError, ConvaultError, OptionsError, PrefectUnavailable
from convault.models import BackupOptions
from convault.pause import paused_until
from convault.progress import report
from convault.settings import Settings, load_settings

if TYPE_CHECKING:
    from convault.installation import Installation

BackupFlow = Callable[[BackupOptions], BackupRecord]
BUSY = BusyError(
    "Another run of `convault backup` is making a backup of this repository. Nothing was started: "
    "try again when it is over."
)
_LEVEL = "zstd's level, 1 to 22; 0 stores plain. 3 unless told."


def backup(
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="json|csv|parquet", help="How rows are written."),
    ] = None,
    compression_level: Annotated[int | None, typer.Option(metavar="N", help=_LEVEL)] = None,
    conversation: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only this conversation; may be repeated."),
    ] = None,
    start_date: Annotated[
        str | None,
        typer.Option(metavar="DAY|TIME", help="Only conversations created then or later."),
    ] = None,
    end_date: Annotated[
        str | None,
        typer.Option(
            metavar="DAY|TIME", help="Only those created before that time, or through that day."
        ),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(metavar="STATUS", help="Only conversations of this status; may be repeated."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only conversations of this channel; may be repeated."),
    ] = None,
    participant: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only those in which it takes part; may be repeated."),
    ] = None,
    no_messages: Annotated[
        bool, typer.Option("--no-messages", help="Leave out messages and what hangs on them.")
    ] = False,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Tables instead of conversations, such as 'sales.*'; may be repeated.",
        ),
    ] = None,
    options: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help="Options as the API takes them; the others here win, or are added to lists.",
        ),
    ] = None,
    exclude_table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE",
            help="Leave out this table, `table` or `schema.table`, * for any characters, and what "
            "belongs to the backup only through it. Repeatable.",
        ),
    ] = None,
    exclude_column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Do not read this column, `table.column` or `schema.table.column`; a restored "
            "table has it with its default or NULL. Repeatable.",
        ),
    ] = None,
    mask_column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=null|hash",
            help="Keep only NULL, or a hash under CONVAULT_MASK_KEY, of this column's values. "
            "Repeatable.",
        ),
    ] = None,
    include_users: Annotated[
        bool,
        typer.Option(
            "--include-users",
            help="Keep id and email of the rows of auth.users that the backup references.",
        ),
    ] = False,
    attachments: Annotated[
        bool,
        typer.Option("--attachments", help="Copy the Storage files that rows point at."),
    ] = False,
    strict_attachments: Annotated[
        bool,
        typer.Option("--strict-attachments", help="The same, and let not one of them be missing."),
    ] = False,
    bucket: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Copy every file of this bucket, also those that no row points at; may be "
            "repeated.",
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Read every row again, also what is unchanged, and compare it."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Back up now: one snapshot, every row of the conversations and what belongs to them.

    Ends with 0 only when the backup is complete. Runs the Prefect flow `backup` in this process, on
    the server of PREFECT_API_URL or on one that it starts for itself.

    Example: convault backup --compression-level 9
    """
    from convault.cluster import require_cluster  # here, because it loads polars

    wanted = wanted_options(
        options, format_, compression_level, conversation_ids=conversation, start_date=start_date,
        end_date=end_date, status=status, channel_ids=channel, participant_ids=participant,
        include_messages=False if no_messages else None, tables=tables,
        include_users=True if include_users else None, full=True if full else None,
        exclude_tables=exclude_table, exclude_columns=exclude_column, mask_columns=mask_column,
        include_attachments=True if attachments or strict_attachments else None,
        strict_attachments=True if strict_attachments else None, buckets=bucket,
    )  # fmt: skip
    settings = load_settings()
    with refusals_told(settings, wanted):
        settings.require_source()
        _require_no_pause(settings)
        require_cluster(settings)
        installation = opened(settings)  # refused here, rather than when Prefect has started
        installation.source(wanted).check()
        installation.files(wanted)
        installation.encryptor()
        guard = alone(installation)
    if guard is None:  # nobody's alarm: somebody makes the backup
        raise BUSY
    with guard, progress.shown():
        with refusals_told(settings, wanted):
            flow = load_flow()
        record = run_flow(flow, wanted)
    if as_json:
        print_json(as_object(record))
    else:
        print(record.id)
        say(summary(record))
        if told := taken_over(record):
            say(told)
        if selected := selection(record):
            say(selected)
        for line in omissions(record):
            say(line)


def alone(installation: Installation) -> Guard | None:
    """Of these commands one at a time backs up to the repository, whoever begins it and on any
    machine, as cron may begin a second one while the first still works. None while one does.

    A run that loses this in the middle goes on: it has the lease of its backup, and a second backup
    beside it does no harm.
    """
    name = f"command-line backup of repository {installation.repository.repository_id}"
    try:
        return installation.catalog.exclusive(name, BUSY)
    except BusyError:
        return None


def _require_no_pause(settings: Settings) -> None:
    """BusyError in the hours of CONVAULT_PAUSE: who waits at a terminal decides for themselves."""
    until = paused_until(datetime.now(UTC), settings.pause, settings.convault_timezone)
    if until is not None:
        local = until.astimezone(settings.convault_timezone)
        raise BusyError(
            f"No backup begins before {local:%Y-%m-%d %H:%M %Z} (CONVAULT_PAUSE). Nothing was "
            "started: try again then; or run this command once with CONVAULT_PAUSE set to nothing."
        )


def wanted_options(
    as_json: str | None, format_: str | None, compression_level: int | None, *,
    exclude_tables: Sequence[str] | None = None, exclude_columns: Sequence[str] | None = None,
    mask_columns: Sequence[str] | None = None, **others: Any,
) -> BackupOptions:  # fmt: skip
    """What the options of the command line ask for; `others` by the names of BackupOptions' fields,
    and None or an empty list where one was not given. OptionsError.

    They win over `as_json`, but take nothing of what is to be left out or masked back.
    """
    values: Any = {}
    if as_json is not None:
        try:
            values = json.loads(as_json)
        except ValueError:
            raise OptionsError("What follows --options is not JSON.") from None
        if not isinstance(values, dict):
            raise OptionsError('What follows --options must be an object: {"compressionLevel": 9}.')
    given = {"format": format_, "compression_level": compression_level, **others}
    for name, value in given.items():
        if value is not None and value != []:
            values.pop(name, None)
            values[to_camel(name)] = value
    _add(values, "excludeTables", "exclude_tables", exclude_tables or ())
    _add(values, "excludeColumns", "exclude_columns", exclude_columns or ())
    _mask(values, mask_columns or ())
    return BackupOptions.parse(values)


def _add(values: dict[str, Any], name: str, snake: str, more: Sequence[str]) -> None:
    given = values.get(name, values.get(snake, []))
    if more and isinstance(given, list):  # anything else is refused by `parse`
        values.pop(snake, None)
        values[name] = [*given, *more]


def _mask(values: dict[str, Any], more: Sequence[str]) -> None:
    pairs = [text.rpartition("=") for text in more]
    if any(not name for name, _, _ in pairs):
        raise OptionsError("What follows --mask-column must be COLUMN=null or COLUMN=hash.")
    given = values.get("maskColumns", values.get("mask_columns", {}))
    if pairs and isinstance(given, dict):
        values.pop("mask_columns", None)
        values["maskColumns"] = {**given, **{name: mask for name, _, mask in pairs}}


def load_flow() -> BackupFlow:
    """The flow `backup`, and a Prefect server for it to run on. PrefectUnavailable."""
    # Prefect reads this once, when it is imported. What it would print, an error that ends the run
    # included, is told by this command; all of it still goes to the Prefect server.
    for handler in ("CONSOLE", "DEBUG"):
        os.environ.setdefault(f"PREFECT_LOGGING_HANDLERS_{handler}_LEVEL", "CRITICAL")
    report("prefect", "starting")
    from flows.backup import backup as flow

    ensure_server()
    return flow


def run_flow(flow: BackupFlow, options: BackupOptions) -> BackupRecord:
    """Run it in this process; returns the completed row. ConvaultError in any other case."""
    try:
        with unwatched():
            record = flow(options)
    except ConvaultError:
        raise
    except Exception as error:
        # The flow lets nothing but Convault's own errors out, so this is Prefect's.
        raise PrefectUnavailable(
            f"Prefect could not run the backup ({type(error).__name__}). Check that the server of"
            " PREFECT_API_URL runs, or unset it: then this command starts one for itself."
        ) from error
    if record.status is not BackupStatus.COMPLETED:
        raise ConvaultError(f"Backup {record.id} is {record.status}. See `convault show`.")
    return record
