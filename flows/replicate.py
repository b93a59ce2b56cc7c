"""Copies of the repository: what is missing travels, what was purged or deleted follows."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from convault.errors import ConfigurationError, ConvaultError
from convault.installation import Installation, open_installation
from convault.replication.replicated import Replicated
from convault.replication.wanted import copy_wanted
from convault.retention.audited import Actor
from convault.settings import load_settings
from flows.artifacts import tolerated
from flows.slots import newest_slot_only
from tasks.boundary import contained
from tasks.copy_backup import copy_backup
from tasks.follow_copy import follow_copy, purge_copy
from tasks.load import Load
from tasks.plan_copy import plan_copy

ACTOR = Actor("schedule", "flow")


@flow(name="replicate", retries=0, persist_result=False, log_prints=False)
@newest_slot_only
@contained
def replicate(to: str | None = None, check: bool = False) -> list[dict[str, Any]]:
    """Bring the copy in CONVAULT_STORE_<TO>_URL up to date, or those in all such stores; what was
    done in each. With `check` everything in the copy is read and proven again.

    When one cannot be, the others are all the same, and then its error is raised: CopyIncomplete
    when some backups could not be copied, or another ConvaultError.
    """
    settings = load_settings()
    names = settings.store_names if to is None else (to,)
    if not names:
        raise ConfigurationError(
            "There is no place for a copy: name a store in CONVAULT_STORE_<NAME>_URL."
        )
    installation = Load("installation", open_installation(settings))
    done: list[Replicated] = []
    errors: list[ConvaultError] = []
    for name in names:
        try:
            done.append(_one(installation, name, check))
        except ConvaultError as error:
            get_run_logger().error("The copy %s: %s", name, error.message)
            errors.append(error)
    publish(done)
    if errors:
        raise errors[0]
    return [one.to_json() for one in done]


def _one(installation: Load[Installation], name: str, check: bool) -> Replicated:
    wanted = copy_wanted(installation.content.settings, name)
    replication = plan_copy(installation, wanted, ACTOR, check)
    doing = replication.content
    with doing.recorded():
        purge_copy(replication)
        with doing.writing():
            for backup_id in doing.done.pending:
                copy_backup(replication, backup_id)
        follow_copy(replication)
    return doing.done


def publish(done: list[Replicated]) -> None:
    """What became of each copy, as a table."""
    with tolerated():
        create_table_artifact(
            table=[
                {
                    "copy": one.name,
                    "where": one.url,
                    "copied": len(one.copied),
                    "bytes": one.brought.bytes,
                    "purged": len(one.purged),
                    "trashed": len(one.left),
                    "only there": len(one.unexplained),
                }
                for one in done
            ],
            key="copies",
            description=f"{len(done)} copies are up to date",
        )
