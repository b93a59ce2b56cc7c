"""The drill: a backup restored for a trial, checked, and thrown away."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_table_artifact

from convault.drill.drilling import concluded, plan, record, require_passed
from convault.drill.report import DrillReport
from convault.encryption.identities import configured
from convault.incidents import Kind
from convault.installation import open_installation
from convault.notify.reporting import reported
from convault.settings import load_settings
from flows.artifacts import tolerated
from flows.slots import newest_slot_only
from flows.telling import warn
from tasks.boundary import contained
from tasks.examine import examine
from tasks.load import Load
from tasks.rehearse import rehearse


@flow(name="drill", retries=0, persist_result=False, log_prints=False)
@newest_slot_only
@contained
def drill(backup_id: UUID | None = None, into: str | None = None) -> dict[str, Any]:
    """Restore a backup (the newest, unless told) into a Postgres that is started for it and thrown
    away, or `into` the scratch database of a target's name; the report, which stays with the
    backup's row, too.

    DrillFailed when a check failed; the table of checks is an artifact of the run. Other errors are
    ConvaultErrors, too.
    """
    settings = load_settings()
    with reported(Kind.DRILL, settings, warn):
        installation = open_installation(settings)
        planned = plan(installation, backup_id, into, identities=configured(settings))
        started = datetime.now(UTC)
        with planned.scratch() as scratch:
            place = Load(scratch.place, scratch)
            work = Load(f"backup {planned.manifest.backup_id}", planned)
            restored = rehearse(installation.repository, work, place)
            checks = examine(work, restored, place)
        report = record(installation.catalog, concluded(planned, scratch, started, checks.content))
        publish(report)
        require_passed(report)
    return report.to_json()


def publish(report: DrillReport) -> None:
    """The checks as a table."""
    with tolerated():
        create_table_artifact(
            table=[check.to_json() for check in report.checks],
            key="drill",
            description=f"Backup {report.backup_id}: {report.summary}",
        )
