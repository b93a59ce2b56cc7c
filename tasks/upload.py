"""Upload parts under the digest of their stored bytes."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger, task

from convault.carrying import Outgoing, Uploaded
from convault.repository import Stored
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="upload", task_run_name="upload {outgoing}", retries=5, **POLICY)
@contained
def upload(outgoing: Load[Outgoing]) -> Sequence[Uploaded]:
    """Store the parts that wait; what an earlier try has stored is not stored again."""
    uploaded = outgoing.content.store()
    for part, stored in uploaded:
        if stored is Stored.REPAIRED:
            get_run_logger().warning(
                "%s was damaged in the store: repaired. What was there is kept under damaged/. "
                "Earlier backups that hold this part can be restored again; see whether the disk "
                "is sound.",
                part.key,
            )
    return uploaded
