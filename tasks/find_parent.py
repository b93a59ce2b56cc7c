"""Find the backup whose unchanged ranges a new one may take over."""

from __future__ import annotations

from prefect import get_run_logger, task

from convault.catalog.base import Catalog
from convault.encryption.objects import Encryptor
from convault.models import BackupOptions
from convault.ranges import parent
from convault.ranges.parent import Parentage, Policy
from convault.repository import Repository
from convault.signing.signature import SigningKeys
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="find parent", retries=3, **POLICY)
@contained
def find_parent(
    repository: Repository,
    catalog: Load[Catalog],
    options: BackupOptions,
    signing: Load[SigningKeys],
    encryptor: Encryptor | None,
    policy: Policy,
) -> Load[Parentage]:
    """Its manifest and index are read and proven; why there is none is logged."""
    found = parent.find_parent(
        repository, catalog.content, options,
        keys=signing.content, encryptor=encryptor, policy=policy,
    )  # fmt: skip
    if found.full_because:
        get_run_logger().info("Every row is read: %s.", found.full_because.rstrip("."))
    return Load("parentage", found)
