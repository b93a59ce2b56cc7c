"""`convault drill`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import progress
from cli.drilled import print_checks
from cli.ending import ended_properly
from cli.identify import backup_named
from cli.identities import Identities, identities_of
from cli.opening import opened
from cli.output import AsJson, duration, print_json, say
from convault.settings import load_settings


def drill(
    backup: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="A backup; without it, the newest full one."),
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The scratch database in CONVAULT_TARGET_<NAME>_URL. Without it, a Postgres that "
            "is started for the drill and thrown away.",
        ),
    ] = None,
    identity: Identities = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup for a trial, and check what came back.

    Counts, a digest of every table's values, foreign keys, sequences, and the queries in
    CONVAULT_DRILL_SQL. Each check is passed, failed or not verified. The report stays with the
    backup. Ends with 0 only when every table's values are the source's and no check failed.

    Example: convault drill latest
    """
    from convault.drill.drilling import drill, require_passed
    from convault.incidents import Kind
    from convault.notify.reporting import reported

    settings = load_settings()
    with reported(Kind.DRILL, settings, say):
        installation = opened(settings)
        backup_id = None if backup is None else backup_named(installation, backup)
        identities = identities_of(settings, identity)
        with ended_properly(), progress.shown():
            report = drill(installation, backup_id, into, identities=identities)
        told = report.to_json()
        if as_json:
            print_json(told)
        else:
            print_checks(told["checks"])
            say(f"Backup {report.backup_id}, restored into {report.place}: {report.summary}.")
            say(f"It took {duration(told['seconds'])}. What was restored is gone again.")
        require_passed(report)
