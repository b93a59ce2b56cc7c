"""Open a copy of the repository, and see what it lacks and what it should not have."""

from __future__ import annotations

from prefect import task

from convault.installation import Installation
from convault.replication.replicating import Replication
from convault.replication.wanted import CopyWanted
from convault.retention.audited import Actor
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="plan_copy", retries=3, **POLICY)
@contained
def plan_copy(
    installation: Load[Installation], wanted: CopyWanted, actor: Actor, check: bool
) -> Load[Replication]:
    """Both places are listed; manifests are read where the copy has rules of its own."""
    replication = Replication(installation.content, wanted, actor, check=check)
    return Load(f"copy {wanted.name}", replication)
