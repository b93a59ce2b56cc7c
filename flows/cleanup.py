"""The clean-up: backups that no rule keeps go to the trash, and what nobody needs is swept away."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact

from convault.errors import BusyError
from convault.installation import open_installation
from convault.retention.audited import Actor
from convault.retention.cleaning import Cleaned
from convault.retention.configured import policy_of
from convault.retention.policy import Policy
from convault.settings import load_settings
from flows.artifacts import tolerated
from flows.slots import newest_slot_only
from tasks.boundary import contained
from tasks.load import Load
from tasks.reconcile import reconcile
from tasks.retain import retain
from tasks.sweep import sweep

ACTOR = Actor("schedule", "flow")


@flow(name="cleanup", retries=0, persist_result=False, log_prints=False)
@newest_slot_only
@contained
def cleanup(policy: Policy | None = None, dry_run: bool = False) -> dict[str, Any]:
    """Clean up by `policy`, or by CONVAULT_KEEP_* where none is given; what was decided, and what
    was swept (None when a backup was running: the next clean-up sweeps).

    PolicyError when there is no rule at all. Other errors are ConvaultErrors, too. Every decision
    is an entry of the audit, and of the run's artifact.
    """
    settings = load_settings()
    rules = policy_of(settings, None if policy is None else policy.to_json())
    installation = open_installation(settings)
    repository, catalog = installation.repository, Load("catalog", installation.catalog)
    if not dry_run:
        reconcile(repository, catalog)
    found = retain(repository, catalog, rules, Load("settings", settings), ACTOR, dry_run).content
    publish(found)
    try:
        swept = sweep(repository, catalog, Load("settings", settings), ACTOR, dry_run).to_json()
    except BusyError as error:
        get_run_logger().warning("%s", error.message)
        swept = None
    return {**found.to_json(), "sweep": swept}


def publish(found: Cleaned) -> None:
    """The decisions as a table."""
    with tolerated():
        create_table_artifact(
            table=[decision.to_json() for decision in found.decisions],
            key="cleanup",
            description=f"{len(found.going)} of {len(found.decisions)} backups "
            f"{'would go' if found.dry_run else 'went'} to the trash",
        )
