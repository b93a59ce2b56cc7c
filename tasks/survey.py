"""Survey a repository: what its backups need, what is there, what is the matter."""

from __future__ import annotations

from uuid import UUID

from prefect import task

from convault.catalog.base import Catalog
from convault.repository import Repository
from convault.signing.signature import SigningKeys
from convault.verification import verifying
from convault.verification.verifying import Survey
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="survey", retries=3, **POLICY)
@contained
def survey(
    repository: Repository, catalog: Load[Catalog], backup_id: UUID | None, keys: Load[SigningKeys]
) -> Load[Survey]:
    """Manifests are read, everything else is only listed."""
    seen = verifying.survey(repository, catalog.content, backup_id, keys.content)
    return Load(f"survey of {backup_id or 'all backups'}", seen)
