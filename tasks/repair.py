"""Put back parts that are damaged or missing, from a source that still holds their rows."""

from __future__ import annotations

from prefect import task

from convault.installation import Installation
from convault.verification import verifying
from convault.verification.verifying import Survey
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="repair", retries=2, **POLICY)
@contained
def repair(installation: Load[Installation], seen: Load[Survey], put_back: bool) -> None:
    """Without `put_back` it is only looked up what could be put back."""
    verifying.repair(installation.content, seen.content, put_back=put_back)
