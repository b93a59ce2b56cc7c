"""Bring one backup into a copy of the repository."""

from __future__ import annotations

from uuid import UUID

from prefect import get_run_logger, task

from convault.replication.replicating import Replication
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="copy_backup", task_run_name="copy {backup_id}", retries=4, **POLICY)
@contained
def copy_backup(replication: Load[Replication], backup_id: UUID) -> None:
    """Objects that are there and proven do not travel again when this is tried again. What is wrong
    with the backup in the first repository is noted, and is no error: others may be sound."""
    doing = replication.content
    before = len(doing.done.faults)
    doing.copy_one(backup_id)
    for fault in doing.done.faults[before:]:
        get_run_logger().warning("Backup %s was not copied: %s", fault.backup_id, fault.reason)
