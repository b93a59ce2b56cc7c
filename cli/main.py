"""The `convault` command: which commands there are, and how it ends.

Results go to stdout, everything else to stderr. The exit status is 0, or the `exit_code` of the
error's class (convault/errors.py; 1 for one that nobody foresaw), 2 for a command line that is not
understood, and 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from cli import (
    archives,
    backups,
    cleaning,
    demonstration,
    doctor,
    drills,
    keys,
    listing,
    notifying,
    recovery,
    rekeying,
    restores,
    retention,
    setting_up,
    setup,
    up,
    verification,
)
from cli.output import say
from convault import __version__
from convault.errors import ConvaultError
from tasks.boundary import unexpected

_INTERRUPTED = 130
"""what the shell calls a program that Ctrl-C ended: 128 + SIGINT"""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("init")(setup.init)
app.command("migrations")(setup.migrations)
app.command("doctor")(doctor.doctor)
app.command("setup")(setting_up.setup)
app.command("up")(up.up)
app.command("demo")(demonstration.demo)
app.command("backup")(backups.backup)
app.command("list")(listing.list_)
app.command("show")(listing.show)
app.command("download")(archives.download)
app.command("extract")(archives.extract)
app.command("restore")(restores.restore)
app.command("recovery-sheet")(recovery.recovery_sheet)
app.command("verify")(verification.verify)
app.command("drill")(drills.drill)
app.command("delete")(retention.delete)
app.command("undelete")(retention.undelete)
app.command("pin")(retention.pin)
app.command("unpin")(retention.unpin)
app.command("acknowledge")(retention.acknowledge)
app.command("cleanup")(cleaning.cleanup)
app.command("sweep")(cleaning.sweep)
app.command("adopt")(cleaning.adopt)
app.command("audit")(cleaning.audit)
app.add_typer(keys.app, name="keys")
app.command("notify")(notifying.notify)
app.command("rekey")(rekeying.rekey)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"convault {__version__}")
        raise typer.Exit


@app.callback()
def convault(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say which it is."),
    ] = False,
) -> None:
    """Back up the conversations of a Supabase or Postgres application, and give them back.

    Settings come from the environment and from .env (docs/operations.md). `convault demo` needs
    none of them.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (of the process, unless `arguments` are given). Always SystemExit."""
    try:
        app(arguments, prog_name="convault")
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            print("convault: stopped", file=sys.stderr)
        raise
    except Exception as error:  # noqa: BLE001 - the last resort of the process, and it says so
        if os.environ.get("CONVAULT_DEBUG"):
            traceback.print_exception(error)
        failure = error if isinstance(error, ConvaultError) else unexpected(error)
        say(f"convault: {failure.message}")
        sys.exit(failure.exit_code)
