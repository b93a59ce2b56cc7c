"""Asking a Prefect server to run a backup."""

from __future__ import annotations

from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from convault.errors import PrefectUnavailable
from convault.models import BackupOptions

DEPLOYMENT = "backup/conversations"
"""flow/deployment, as prefect.yaml names them"""


def start_backup(options: BackupOptions, backup_id: UUID) -> UUID:
    """Have the deployment's worker run the backup `backup_id`; returns the flow run's id at once.

    Calling again with the same id starts nothing new and returns the same flow run. Blocks for a
    request or two: call it from a thread, not from an event loop. PrefectUnavailable when the
    server cannot be reached, refuses, or has no such deployment.
    """
    address = get_current_settings().api.url
    if not address:
        # Prefect would start a server of its own here, which no worker knows.
        raise PrefectUnavailable(
            "PREFECT_API_URL is not set, so there is no Prefect server to run the backup. Start "
            "one with `prefect server start` and set PREFECT_API_URL to its address."
        )
    try:
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(DEPLOYMENT)
            run = client.create_flow_run_from_deployment(
                deployment.id,
                parameters={"options": options.to_json(), "backup_id": str(backup_id)},
                idempotency_key=str(backup_id),
                name=f"backup-{backup_id}",
            )
            return run.id
    except ObjectNotFound:
        raise PrefectUnavailable(
            f"The Prefect server has no deployment {DEPLOYMENT}. Make it, in the checkout: "
            "`prefect work-pool create convault --type process`, then "
            "`prefect deploy --all --no-prompt`."
        ) from None
    except httpx.HTTPStatusError as error:
        raise PrefectUnavailable(
            f"The Prefect server answered HTTP {error.response.status_code} when it was asked to "
            f"start {DEPLOYMENT}. Deploy again with `prefect deploy --all --no-prompt`, or look "
            "at the server's log."
        ) from None
    except httpx.HTTPError as error:
        raise PrefectUnavailable(
            f"The Prefect server cannot be reached ({type(error).__name__}). Check that it runs "
            "and that PREFECT_API_URL is its address."
        ) from None
