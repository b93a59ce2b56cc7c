"""Begin a backup: its row becomes `processing`, and this run holds its lease."""

from __future__ import annotations

from uuid import UUID

from prefect import task

from convault.catalog.base import Catalog, Lease
from convault.models import BackupOptions
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="begin", task_run_name="begin {backup_id}", retries=3, **POLICY)
@contained
def begin(
    catalog: Load[Catalog], options: BackupOptions, backup_id: UUID, flow_run_id: UUID | None
) -> Load[Lease]:
    """Take the lease; the row is made where there is none (scheduled and CLI runs).

    CatalogError when the backup is completed or failed already, BusyError when another run holds
    it: in either case the row is somebody else's, and was left as it is.
    """
    lease = catalog.content.begin(backup_id, options.to_json(), flow_run_id)
    return Load(f"lease of {backup_id}", lease)
