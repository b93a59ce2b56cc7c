"""Let what was purged or deleted leave a copy of the repository."""

from __future__ import annotations

from prefect import task

from convault.replication.replicating import Replication
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="purge_copy", retries=4, **POLICY)
@contained
def purge_copy(replication: Load[Replication]) -> None:
    """Erase what was purged. BusyError while another run writes the copy."""
    replication.content.purge()


@task(name="follow_copy", retries=4, **POLICY)
@contained
def follow_copy(replication: Load[Replication]) -> None:
    """Move what was deleted, or what the copy's rules do not keep, to its trash, and sweep it."""
    replication.content.follow()
