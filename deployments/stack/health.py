"""Whether a part is healthy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
from prefect.client.schemas.objects import WorkerStatus

from convault.errors import ConvaultError
from deployments.server import server
from deployments.workers import POOL

_SECONDS = 5.0
"""that an answer may take"""


def answers(url: str) -> bool:
    """Whether a server answers there that all is well."""
    try:
        return httpx.get(url, timeout=_SECONDS, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def works(name: str, since: datetime) -> bool:
    """Whether the worker of that name has been heard of, by the Prefect server, `since` then."""
    try:
        with server("look for the worker") as client:
            found = client.read_workers_for_work_pool(POOL)
    except ConvaultError:
        return False
    return any(
        worker.name == name
        and worker.status == WorkerStatus.ONLINE
        and worker.last_heartbeat_time is not None
        and worker.last_heartbeat_time > since
        for worker in found
    )


def before_now() -> datetime:
    """A moment ago."""
    return datetime.now(UTC) - timedelta(seconds=1)
