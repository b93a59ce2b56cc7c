"""Whether there is a Prefect server, and the deployment that the API and schedules start."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from convault.doctor.finding import Finding, amber, not_checked, ok, red
from convault.settings import without_password

TIMEOUT = 10.0
"""seconds"""
_DEPLOYMENT = "backup/conversations"


@dataclass(frozen=True, slots=True)
class Server:
    """A Prefect server, as Prefect's own settings name it."""

    url: str
    headers: dict[str, str]
    """that sign in; they hold a secret"""

    def __repr__(self) -> str:
        return f"Server({without_password(self.url)!r})"


@dataclass(frozen=True, slots=True)
class Answered:
    """Statuses of its answers; None: no answer."""

    health: int | None
    deployment: int | None = None


def ask(server: Server) -> Answered:
    """Whether it is well, and whether it has the deployment."""
    health = None
    try:
        with httpx.Client(timeout=TIMEOUT, headers=server.headers) as client:
            health = client.get(f"{server.url}/health").status_code
            deployment = client.get(f"{server.url}/deployments/name/{_DEPLOYMENT}").status_code
    except httpx.HTTPError:
        return Answered(health)
    return Answered(health, deployment)


def judge(server: Server | None, answered: Answered | None) -> Finding:
    """`server` is None where Prefect's settings name none."""
    name = "Prefect"
    if server is None or answered is None:
        return not_checked(
            name,
            "PREFECT_API_URL is not set; `convault backup` starts a server for itself, schedules "
            "and the API need one that runs",
        )
    where = without_password(server.url)
    if answered.health is None:
        return red(
            name,
            f"no Prefect server answers at {where}",
            "Start it (`prefect server start`), or correct PREFECT_API_URL.",
        )
    if answered.health in (401, 403) or answered.deployment in (401, 403):
        return red(
            name,
            f"the Prefect server at {where} refuses the sign-in",
            "Set PREFECT_API_AUTH_STRING, or PREFECT_API_KEY, to what that server wants.",
        )
    if answered.health != 200:
        return red(
            name,
            f"what answers at {where} is not a Prefect server that is well (status "
            f"{answered.health})",
            "PREFECT_API_URL ends in /api; see the server's log.",
        )
    if answered.deployment == 404:
        return amber(
            name,
            f"the server at {where} has no deployment {_DEPLOYMENT}",
            "Run `prefect deploy --all --no-prompt` in the checkout; the API and schedules need "
            "it.",
        )
    if answered.deployment != 200:
        return red(
            name,
            f"the server at {where} does not tell its deployments (status {answered.deployment})",
            "See the server's log, and whether PREFECT_API_URL ends in /api.",
        )
    return ok(name, f"{where}, with {_DEPLOYMENT}")
