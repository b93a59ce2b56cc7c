"""Decide which backups go, and move them to the trash."""

from __future__ import annotations

from prefect import get_run_logger, task

from convault.catalog.base import Catalog
from convault.repository import Repository
from convault.retention import cleaning
from convault.retention.audited import Actor
from convault.retention.cleaning import Cleaned
from convault.retention.policy import Policy
from convault.settings import Settings
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="retain", retries=3, **POLICY)
@contained
def retain(
    repository: Repository,
    catalog: Load[Catalog],
    policy: Policy,
    settings: Load[Settings],
    actor: Actor,
    dry_run: bool,
) -> Load[Cleaned]:
    """Nobody looks at it before: at most a third of a group's good backups go at once."""
    zone = settings.content.convault_timezone
    found = cleaning.plan(
        repository, catalog.content, policy, zone, unattended=True, dry_run=dry_run
    )
    if not dry_run:
        found = cleaning.apply(repository, catalog.content, found, actor)
    for decision in found.going:
        get_run_logger().info("%s", decision)
    return Load("decisions", found)
