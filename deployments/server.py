"""Speaking to a Prefect server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from convault.doctor.runs import Server
from convault.errors import PrefectUnavailable


def named() -> Server | None:
    """The server of PREFECT_API_URL, in the environment or in Prefect's profile, and what signs in
    to it; None where none is named."""
    api = get_current_settings().api
    if not api.url:
        return None
    headers = {}
    if api.key is not None:
        headers["Authorization"] = f"Bearer {api.key.get_secret_value()}"
    elif api.auth_string is not None:
        signed = base64.b64encode(api.auth_string.get_secret_value().encode()).decode()
        headers["Authorization"] = f"Basic {signed}"
    return Server(api.url.rstrip("/"), headers)


def deployment_id(client: SyncPrefectClient, name: str) -> UUID:
    """The id of a deployment (`flow/deployment`). PrefectUnavailable where there is none."""
    return deployment(client, name).id


def deployment(client: SyncPrefectClient, name: str) -> DeploymentResponse:
    """A deployment (`flow/deployment`), schedules included. PrefectUnavailable without one."""
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        raise PrefectUnavailable(
            f"The Prefect server has no deployment {name}. Make it, in the checkout: "
            "`prefect work-pool create convault --type process`, then "
            "`prefect deploy --all --no-prompt`."
        ) from None


@contextmanager
def server(doing: str) -> Iterator[SyncPrefectClient]:
    """A client of PREFECT_API_URL; what goes wrong with it is PrefectUnavailable."""
    if not get_current_settings().api.url:
        # Prefect would start a server of its own here, which no worker knows.
        raise PrefectUnavailable(
            "PREFECT_API_URL is not set, so there is no Prefect server to run anything. Start "
            "one with `prefect server start` and set PREFECT_API_URL to its address."
        )
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPStatusError as error:
        raise PrefectUnavailable(
            f"The Prefect server answered HTTP {error.response.status_code} when it was asked to "
            f"{doing}. Deploy again with `prefect deploy --all --no-prompt`, or look at the "
            "server's log."
        ) from None
    except httpx.HTTPError as error:
        raise PrefectUnavailable(
            f"The Prefect server cannot be reached ({type(error).__name__}). Check that it runs "
            "and that PREFECT_API_URL is its address."
        ) from None
