"""Remove what no backup needs."""

from __future__ import annotations

from prefect import task

from convault.catalog.base import Catalog
from convault.repository import Repository
from convault.retention import sweeping
from convault.retention.audited import Actor
from convault.retention.configured import grace_of, trash_of
from convault.retention.sweeping import Swept
from convault.settings import Settings
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="sweep", retries=3, **POLICY)
@contained
def sweep(
    repository: Repository,
    catalog: Load[Catalog],
    settings: Load[Settings],
    actor: Actor,
    dry_run: bool,
) -> Swept:
    """BusyError while a backup runs."""
    return sweeping.sweep(
        repository, catalog.content, actor,
        grace=grace_of(settings.content), trash=trash_of(settings.content), dry_run=dry_run,
    )  # fmt: skip
