"""Rows that wait for a run: they fail when it is gone or over, never for how long they wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled

from convault.catalog.base import BackupRecord, BackupStatus
from convault.installation import initialise, open_installation
from convault.models import BackupOptions
from convault.settings import Settings
from deployments import start_backup
from deployments.lost import UNSTARTED, reason, settle
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]


def row(age: timedelta, flow_run_id: UUID | None = None) -> BackupRecord:
    at = NOW - age
    return BackupRecord(
        id=uuid4(), status=BackupStatus.PENDING, options={}, created_at=at, updated_at=at,
        flow_run_id=flow_run_id,
    )  # fmt: skip


def run(state: StateType) -> FlowRun:
    return FlowRun(flow_id=uuid4(), state=State(type=state))


@pytest.mark.parametrize("state", list(StateType))
def test_a_run_that_is_not_over_is_waited_for(state: StateType) -> None:
    over = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED}
    for age in (timedelta(0), timedelta(days=400)):
        why = reason(row(age, uuid4()), run(state), NOW)
        assert (why is None) == (state not in over)


def test_a_run_that_is_gone_is_not() -> None:
    assert "does not know" in str(reason(row(timedelta(0), uuid4()), None, NOW))


def test_one_that_is_being_handed_over_is_by_the_clock_of_the_database() -> None:
    assert reason(row(UNSTARTED - timedelta(seconds=1)), None, NOW) is None
    assert "never handed" in str(reason(row(UNSTARTED), None, NOW))
    # A clock that was set back: the row is of the future, and is waited for.
    assert reason(row(timedelta(days=-1)), None, NOW) is None


def test_with_a_real_server(database: str, prefect_api: PrefectServer, tmp_path: object) -> None:
    settings = Settings(database_url=database, convault_store_url=f"file://{tmp_path}/store")
    initialise(settings)
    catalog = open_installation(settings).catalog
    deploy(prefect_api)

    def pending() -> BackupRecord:
        made = row(timedelta(0)).model_copy(update={"repository_id": catalog.repository_id()})
        return catalog.add(made)

    waits, over, deleted, unnamed, unstarted = (pending() for _ in range(5))
    runs = {
        each.id: start_backup(BackupOptions(), each.id) for each in (waits, over, deleted, unnamed)
    }
    for each in (waits, over, deleted):  # of the fourth, the id was not written down
        catalog.update(each.id, flow_run_id=runs[each.id])
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(runs[over.id], Cancelled())
        client.delete_flow_run(runs[deleted.id])
        assert set(settle(catalog)) == {over.id, deleted.id}
        client.set_flow_run_state(runs[unnamed.id], Cancelled())
        assert settle(catalog) == (unnamed.id,)
        client.set_flow_run_state(runs[waits.id], Cancelled())
    statuses = {each.id: each.status for each in catalog.list()}
    assert statuses[unstarted.id] is BackupStatus.PENDING
    assert statuses[waits.id] is BackupStatus.PENDING
    assert statuses[over.id] is BackupStatus.FAILED
    assert "Cancelled" in str(catalog.get(over.id).error)


def test_of_two_workers_one_gets_a_run_and_the_next_waits_for_its_turn(
    prefect_api: PrefectServer,
) -> None:
    """Both ask for it at once, as two workers of one queue do; real ones, of which one is killed,
    are in test_two_workers.py."""
    deploy(prefect_api)
    first, second = (start_backup(BackupOptions(), uuid4()) for _ in range(2))
    pending = State[object](type=StateType.PENDING)
    with get_client(sync_client=True) as one, get_client(sync_client=True) as other:
        try:
            assert one.set_flow_run_state(first, pending).status.value == "ACCEPT"
            assert other.set_flow_run_state(first, pending).status.value == "ABORT"
            assert other.set_flow_run_state(second, pending).status.value == "REJECT"
            waiting = one.read_flow_run(second).state
            assert waiting is not None
            assert waiting.name == "AwaitingConcurrencySlot"
        finally:
            one.delete_flow_run(first)
            one.delete_flow_run(second)
