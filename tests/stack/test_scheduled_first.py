"""Runs of a schedule go before those that somebody asked for."""

from __future__ import annotations

from uuid import UUID, uuid4

from prefect.client.schemas.objects import FlowRun

from deployments.queues import MANUAL, SCHEDULED
from deployments.stack.worker import scheduled_first

BACKUP, RESTORE = uuid4(), uuid4()


def run(queue: str, deployment: UUID = BACKUP) -> FlowRun:
    return FlowRun(flow_id=uuid4(), deployment_id=deployment, work_queue_name=queue)


def test_nobody_waits_for_nothing() -> None:
    asked = [run(MANUAL), run(MANUAL)]
    assert scheduled_first(asked, []) == asked


def test_one_that_is_due_goes_first() -> None:
    asked, scheduled = run(MANUAL), run(SCHEDULED)
    assert scheduled_first([asked, scheduled], []) == [scheduled]


def test_so_does_one_that_waits_for_its_turn() -> None:
    asked, waiting = run(MANUAL), run(SCHEDULED)
    assert scheduled_first([asked], [waiting]) == []
    assert scheduled_first([asked], [run(MANUAL)]) == [asked]


def test_another_deployment_is_not_held_up() -> None:
    restore = run(MANUAL, RESTORE)
    assert scheduled_first([restore], [run(SCHEDULED)]) == [restore]
