"""How far a flow run is, as its progress artifact on the Prefect server says."""

from __future__ import annotations

from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
)
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import PrefectException
from prefect.settings import get_current_settings

from deployments.settings import with_settings

_SECONDS = 2.0
"""Whoever asks how far a run is would rather not know than wait."""


def progress_of(flow_run_id: UUID) -> float | None:
    """Per cent of the backup that this run makes; None where Prefect does not tell: no server is
    named, it cannot be reached, or the run has not said anything yet."""
    if not get_current_settings().api.url:
        return None
    hasty = with_settings(api={"request_timeout": _SECONDS}, client={"max_retries": 0})
    try:
        with hasty, get_client(sync_client=True) as client:
            found = client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]),
                    key=ArtifactFilterKey(any_=["backup-progress"]),
                ),
                sort=ArtifactSort.CREATED_DESC,
                limit=1,
            )
    except (httpx.HTTPError, PrefectException):
        return None
    data = found[0].data if found else None
    return float(data) if isinstance(data, int | float) else None
