"""Check what was restored for a trial."""

from __future__ import annotations

from prefect import task

from convault.drill import drilling
from convault.drill.drilling import Plan
from convault.drill.rehearsal import Rehearsal
from convault.drill.report import Check
from convault.drill.scratch import Scratch
from tasks.boundary import contained
from tasks.load import Load
from tasks.policy import POLICY


@task(name="examine", retries=2, **POLICY)
@contained
def examine(
    planned: Load[Plan], rehearsal: Load[Rehearsal], scratch: Load[Scratch]
) -> Load[tuple[Check, ...]]:
    """Every check; it reads, and may be repeated."""
    checks = drilling.examine(planned.content, rehearsal.content, scratch.content)
    return Load(f"{len(checks)} checks", checks)
