"""Read objects back, those whose turn it is, and hold each against its digest."""

from __future__ import annotations

from prefect import task

from convault.catalog.base import Catalog
from convault.repository import Repository
from convault.verification import verifying
from convault.verification.reading import Subset
from convault.verification.verifying import Survey
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


# Each object is read again by itself when the store cannot be reached; a retry goes on behind what
# was read.
@task(name="read back", retries=2, **POLICY)
@contained
def read_back(
    repository: Repository, catalog: Load[Catalog], seen: Load[Survey], subset: Subset
) -> None:
    """What is damaged is added to the survey."""
    verifying.read_some(repository, catalog.content, seen.content, subset)
