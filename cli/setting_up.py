"""`convault setup`: from nothing to a first backup that was restored for a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import progress
from cli.output import AsJson, print_json, say
from cli.setup_answers import Answers, Asked, answers_of, written
from convault.settings import load_settings

if TYPE_CHECKING:
    from convault.installation import Installation

SCHEDULE = "regular"
"""name of the schedule that it makes"""


def setup(
    store: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where backups are kept: file:///folder, s3://bucket/..."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="IANA zone, such as America/Sao_Paulo.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="daily, weekly, monthly, a cron line, or none."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="RULES", help="What a clean-up keeps: daily=7,weekly=4; or none."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing: what is not given keeps its default.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let answers replace what .env says otherwise.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask what has to be known, write it into .env, and make and try the first backup.

    Source, store, time zone, schedule, retention, alarm. What the environment or .env says already
    is not asked. Secrets (DATABASE_URL, CONVAULT_NOTIFY_URLS) are taken from a prompt or from
    there, never from the command line. Then it prepares catalog and store, looks for what would go
    wrong, makes a backup and restores it for a trial. May be repeated: it makes only what is
    missing.

    Example: convault setup --store file:///srv/backups --schedule daily --yes
    """
    asked = Asked(store=store, timezone=timezone, schedule=schedule, keep=keep)
    answers = answers_of(asked, quiet=yes)
    names = written(answers, replace=replace, quiet=yes)
    for name in names:
        say(f"Wrote {name} into .env.")
    result = _made(answers)
    if as_json:
        print_json({"written": names, **result})
    else:
        say("Everything is there. `convault up` starts the schedule, the API and the rest.")


def _made(answers: Answers) -> dict[str, Any]:
    from convault.doctor.examination import examine
    from convault.doctor.finding import require_healthy
    from convault.installation import initialise, open_installation
    from convault.signing import signing_key

    settings = load_settings()
    for line in initialise(settings).done:
        say(line)
    say(signing_key.ensure(settings).said)
    findings = examine(None)
    for finding in findings:
        say(f"{finding.name} is {finding.state.value}: {finding.found}. {finding.remedy}".rstrip())
    require_healthy(findings)
    installation = open_installation(load_settings())
    backup_id, verified = _tried(installation)
    return {
        "backup": backup_id,
        "drilled": verified,
        "schedule": _scheduled(installation, answers),
    }


def _tried(installation: Installation) -> tuple[str, bool]:
    """The newest complete backup, or one that is made now; restored for a trial, unless one was."""
    from cli.backups import BUSY, alone, load_flow, run_flow
    from cli.listing import summary
    from convault.catalog.base import BackupStatus
    from convault.drill.drilling import drill, require_passed
    from convault.models import BackupOptions

    rows = installation.catalog.list(status=BackupStatus.COMPLETED)
    if rows:
        record = rows[0]
        say(f"There is a backup already: {record.id}.")
    else:
        guard = alone(installation)
        if guard is None:
            raise BUSY
        with guard, progress.shown():
            record = run_flow(load_flow(), BackupOptions())
        say(f"Backup {record.id}: {summary(record)}")
    if any(row.verified_at for row in rows):
        say("One was restored for a trial already.")
        return str(record.id), True
    if installation.encryptor() is not None:
        say("It is encrypted, and was not restored: `convault drill --identity FILE` does that.")
        return str(record.id), False
    with progress.shown():
        report = drill(installation, record.id, None)
    say(f"Restored for a trial: {report.summary}.")
    require_passed(report)
    return str(record.id), True


def _scheduled(installation: Installation, answers: Answers) -> str | None:
    """Write the schedule down, from where `convault up` and `convault init` make it on a Prefect
    server. One of that name is left as it is."""
    from convault.schedule import BackupSchedule, id_of

    if answers.schedule is None:
        return None
    there = {row.name: row for row in installation.catalog.schedules()}.get(SCHEDULE)
    if there is not None:
        if (there.schedule, there.timezone) != (answers.schedule, answers.timezone):
            say(
                f"There is a schedule {SCHEDULE} already ({there.schedule}, {there.timezone}); it "
                "was left as it is. Change it with PATCH .../scheduler, or in Prefect's UI."
            )
        return there.schedule
    installation.catalog.save_schedule(
        BackupSchedule(
            id=id_of(SCHEDULE),
            name=SCHEDULE,
            schedule=answers.schedule,
            timezone=answers.timezone,
        )
    )
    say(f"Scheduled: {answers.schedule}, {answers.timezone}.")
    return answers.schedule
