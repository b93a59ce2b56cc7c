"""Count a table in the snapshot that its rows were read from."""

from __future__ import annotations

from prefect import task

from convault.models import Table
from convault.progress import report
from convault.row_digest import Counted
from convault.sources.base import Snapshot
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="count", task_run_name="count {table.name}", retries=4, **POLICY)
@contained
def count(snapshot: Load[Snapshot], table: Table) -> Counted:
    """count(*) without page ranges: what the parts are held against; and the digest of the rows,
    for drills."""
    counted = snapshot.content.counted(table)
    report("count", str(table.name), done=counted.rows, total=counted.rows)
    return counted
