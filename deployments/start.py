"""Asking a Prefect server to run a flow, or to stop a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from convault.models import BackupOptions
from convault.restore import RestoreOptions
from deployments.queues import MANUAL
from deployments.server import deployment_id, server

DEPLOYMENT = "backup/conversations"
"""flow/deployment, as prefect.yaml names them; the others likewise"""
RESTORE, VERIFY, DRILL = "restore/restore", "verify/repository", "drill/newest"


def start_backup(options: BackupOptions, backup_id: UUID) -> UUID:
    """Have the deployment's worker run the backup `backup_id`; returns the flow run's id at once.

    Calling again with the same id starts nothing new and returns the same flow run. Blocks for a
    request or two: call it from a thread, not from an event loop. PrefectUnavailable when the
    server cannot be reached, refuses, or has no such deployment.
    """
    return _start(
        DEPLOYMENT,
        {"options": options.to_json(), "backup_id": str(backup_id)},
        name=f"backup-{backup_id}",
        idempotency_key=str(backup_id),
    )


def start_restore(
    backup_id: UUID, target: str, options: RestoreOptions, *, trust: bool, agree: bool
) -> UUID:
    """Have the backup restored into the target of that name; see `start_backup`."""
    parameters = {
        "backup_id": str(backup_id),
        "target": target,
        "options": options.model_dump(mode="json", by_alias=True),
        "trust": trust,
        "agree": agree,
    }
    return _start(RESTORE, parameters, name=f"restore-{backup_id}")


def start_verify(backup_id: UUID, read_data: str | None) -> UUID:
    """Have the objects of the backup looked up, and some of them read; see `start_backup`."""
    parameters = {"backup_id": str(backup_id), "read_data": read_data}
    return _start(VERIFY, parameters, name=f"verify-{backup_id}")


def start_drill(backup_id: UUID, into: str | None) -> UUID:
    """Have the backup restored for a trial; see `start_backup`."""
    return _start(DRILL, {"backup_id": str(backup_id), "into": into}, name=f"drill-{backup_id}")


def cancel(flow_run_id: UUID) -> bool:
    """Tell a run to stop: one that waits never starts, one that works lets go of everything and
    says `failed` in its row. False when it was over already, or the server does not know it.
    PrefectUnavailable."""
    with server(f"cancel the run {flow_run_id}") as client:
        try:
            run = client.read_flow_run(flow_run_id)
        except ObjectNotFound:
            return False
        if run.state is not None and run.state.is_final():
            return False
        client.set_flow_run_state(flow_run_id, Cancelling())
        state = client.read_flow_run(flow_run_id).state
        return state is not None and state.type in {StateType.CANCELLING, StateType.CANCELLED}


def _start(
    deployment: str, parameters: Mapping[str, Any], *, name: str, idempotency_key: str | None = None
) -> UUID:
    with server(f"start {deployment}") as client:
        run = client.create_flow_run_from_deployment(
            deployment_id(client, deployment),
            parameters=dict(parameters),
            idempotency_key=idempotency_key,
            name=name,
            work_queue_name=MANUAL,
        )
        return run.id
