"""Restore a backup into a scratch database."""

from __future__ import annotations

from prefect import task

from convault.drill import rehearsal
from convault.drill.drilling import Plan
from convault.drill.rehearsal import Rehearsal
from convault.drill.scratch import Scratch
from convault.repository import Repository
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


# A restore is one transaction: after an error the database is empty as before.
@task(name="rehearse", retries=2, **POLICY)
@contained
def rehearse(
    repository: Repository, planned: Load[Plan], scratch: Load[Scratch]
) -> Load[Rehearsal]:
    """What a restore did; what it could not do is among its checks."""
    plan = planned.content
    done = rehearsal.rehearse(repository, plan.manifest, scratch.content, plan.identities)
    return Load(f"rehearsal of {planned}", done)
