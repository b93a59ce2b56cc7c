"""Put the catalog right from the manifests, before anything new is made."""

from __future__ import annotations

from prefect import get_run_logger, task

from convault import reconcile as reconciling
from convault.catalog.base import Catalog
from convault.repository import Repository
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="reconcile", retries=3, **POLICY)
@contained
def reconcile(repository: Repository, catalog: Load[Catalog]) -> None:
    """Rows follow manifests: what runs that were killed left behind is mended."""
    for change in reconciling.reconcile(repository, catalog.content):
        get_run_logger().info("reconciled: %s", change)
