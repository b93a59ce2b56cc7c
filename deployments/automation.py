"""The automation that calls a run crashed when nothing is heard of it any more.

A worker reports a run that died; where the worker died with it, nobody would. Each run says every
30 s that it lives (PREFECT_FLOWS_HEARTBEAT_FREQUENCY in prefect.yaml).
"""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from convault.settings import load_settings

NAME = "Convault: a run that is not heard of any more has crashed"
_BEAT = "prefect.flow-run.heartbeat"
_OVER = ("Completed", "Failed", "Cancelled", "Crashed")


def ensure_automation(client: SyncPrefectClient) -> list[str]:
    """Make it, or have it say what it should; what was made."""
    wanted = automation(timedelta(seconds=load_settings().convault_silent_seconds))
    there = [found for found in client.read_automations_by_name(NAME) if found.name == NAME]
    for found in there:
        if _same(found, wanted):
            return []
        client.delete_automation(found.id)
    client.create_automation(wanted)
    return ["automation for runs that died with their worker"]


def automation(silence: timedelta) -> AutomationCore:
    """A run that was heard of, is not over, and is silent for that long, becomes Crashed."""
    return AutomationCore(
        name=NAME,
        description="Worker and run may be killed together; without this the run is Running for "
        "ever, and keeps its deployment's one slot. `convault init` makes this.",
        trigger=EventTrigger(
            after={_BEAT},
            expect={_BEAT, *(f"prefect.flow-run.{state}" for state in _OVER)},
            match=ResourceSpecification.model_validate(
                {"prefect.resource.id": ["prefect.flow-run.*"]}
            ),
            match_related=ResourceSpecification.model_validate(
                {"prefect.resource.id": "prefect.tag.convault", "prefect.resource.role": "tag"}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                force=False,
                message="Nothing was heard of this run any more: it was killed, or its machine "
                "was.",
            )
        ],
    )


def _same(found: Automation, wanted: AutomationCore) -> bool:
    return found.enabled and found.trigger.model_dump(exclude={"id"}) == wanted.trigger.model_dump(
        exclude={"id"}
    )
