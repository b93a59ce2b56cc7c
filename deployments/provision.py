"""What a Prefect server must have before anything can run: pool, queues, deployments, automation.

prefect.yaml stays the one list of deployments; this makes of it what `prefect deploy --all` makes,
but leaves alone the schedules of a deployment that is there: whoever switched one on wants it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
)
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from convault.retention.configured import has_rules
from convault.settings import load_settings
from deployments.automation import ensure_automation
from deployments.queues import MANUAL, MANUAL_PRIORITY
from deployments.server import server
from deployments.workers import POOL

CHECKOUT = Path(__file__).parent.parent


def provision() -> list[str]:
    """Make what the server of PREFECT_API_URL lacks, bring what it has up to date, and say what was
    made. May be repeated. PrefectUnavailable."""
    with server("make what Convault needs there") as client:
        return [
            *_pool(client),
            *_queue(client),
            *(said for entry in _listed() for said in _deployment(client, entry)),
            *ensure_automation(client),
        ]


def _listed() -> list[dict[str, Any]]:
    with (CHECKOUT / "prefect.yaml").open(encoding="utf-8") as file:
        found: list[dict[str, Any]] = yaml.safe_load(file)["deployments"]
    return found


def _pool(client: SyncPrefectClient) -> list[str]:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=POOL, type="process", base_job_template=template)
        )
        return [f"work pool {POOL}"]
    return []


def _queue(client: SyncPrefectClient) -> list[str]:
    """Of runs that somebody asked for; the pool's own queue, which goes first, has the rest."""
    try:
        client.read_work_queue_by_name(MANUAL, work_pool_name=POOL)
    except ObjectNotFound:
        client.create_work_queue(
            MANUAL,
            description="Runs that somebody asked for; scheduled ones go before them.",
            priority=MANUAL_PRIORITY,
            work_pool_name=POOL,
        )
        return [f"work queue {MANUAL}"]
    return []


def _deployment(client: SyncPrefectClient, entry: Mapping[str, Any]) -> list[str]:
    flow: Flow[..., Any] = load_flow_from_entrypoint(str(CHECKOUT / entry["entrypoint"]))
    name = f"{flow.name}/{entry['name']}"
    limit = entry["concurrency_limit"]
    what: dict[str, Any] = {
        "concurrency_limit": limit["limit"],
        "concurrency_options": ConcurrencyOptions(collision_strategy=limit["collision_strategy"]),
        "parameters": entry["parameters"],
        "description": entry["description"],
        "tags": entry["tags"],
        "entrypoint": entry["entrypoint"],
        "enforce_parameter_schema": entry["enforce_parameter_schema"],
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
        "work_pool_name": POOL,
        "work_queue_name": entry["work_pool"]["work_queue_name"],
        "job_variables": entry["work_pool"].get("job_variables"),
        "pull_steps": [
            {"prefect.deployments.steps.set_working_directory": {"directory": str(CHECKOUT)}}
        ],
    }
    try:
        there = client.read_deployment_by_name(name)
    except ObjectNotFound:
        wanted = _wanted(flow.name)
        schedules = [_schedule(each, switched_on=wanted) for each in entry.get("schedules") or ()]
        client.create_deployment(
            _flow_id(client, flow.name), entry["name"], schedules=schedules, **what
        )
        return [f"deployment {name}"]
    # To create it again would remove every schedule that it has.
    client.update_deployment(there.id, DeploymentUpdate(**what))
    return []


def _flow_id(client: SyncPrefectClient, name: str) -> UUID:
    return client.create_flow_from_name(name)


def _wanted(flow: str) -> bool:
    """Whether the settings call for what a deployment of this flow does by itself: a clean-up where
    there are rules for it, a look where there is somebody to tell."""
    settings = load_settings()
    if flow == "watch":
        return settings.convault_notify_urls is not None
    return flow == "cleanup" and has_rules(settings)


def _schedule(entry: Mapping[str, Any], *, switched_on: bool) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=CronSchedule(cron=entry["cron"], timezone=entry["timezone"]),
        active=entry["active"] or switched_on,
        slug=entry["slug"],
    )
