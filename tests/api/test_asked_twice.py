"""`POST` with an Idempotency-Key, and by somebody who asks too often; on a Prefect server without a
worker, so that every run waits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client

from api.app import create_app
from api.caller import Scope
from api.keys import new_key
from api.routes.backups import MAX_WAITING
from convault.catalog.base import BackupStatus, Catalog
from convault.settings import Settings
from tests.prefect_server import PrefectServer
from tests.prefect_worker import deploy
from tests.serving import PATH, client_of, problem, served

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("prefect")]

OTHER, ENTRY = new_key("other", [Scope.LIST, Scope.OPERATE])


@pytest.fixture
def url(settings: Settings, prefect_api: PrefectServer) -> Iterator[str]:
    deploy(prefect_api)
    keys = Settings(convault_api_keys=ENTRY).convault_api_keys
    with served(create_app(settings.model_copy(update={"convault_api_keys": keys}))) as url:
        yield url


@pytest.fixture(autouse=True)
def runs(prefect_api: PrefectServer, catalog: Catalog) -> Iterator[SyncPrefectClient]:
    """A client; the runs of the rows are taken away again, so that no other test runs them."""
    with get_client(sync_client=True) as client:
        yield client
        for row in catalog.list():
            if row.flow_run_id is not None:
                client.delete_flow_run(row.flow_run_id)


def test_the_same_key_gives_the_same_backup(client: httpx.Client, catalog: Catalog) -> None:
    headers = {"Idempotency-Key": "nightly 2026-11-25"}

    def ask(_: int) -> httpx.Response:
        return client.post(PATH, headers=headers, json={"compressionLevel": 9})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert [answer.status_code for answer in answers] == [202] * 4
    [row] = catalog.list()
    assert {answer.json()["id"] for answer in answers} == {str(row.id)}
    assert {answer.json()["flow_run_id"] for answer in answers} == {str(row.flow_run_id)}
    assert {answer.headers["location"] for answer in answers} == {f"{PATH}/{row.id}"}
    catalog.update(row.id, status=BackupStatus.FAILED, error="It did not work.")
    assert ask(0).json()["status"] == "failed", "what became of it, not another one"
    other = client.post(PATH, headers={"Idempotency-Key": "another"}, json={"compressionLevel": 9})
    assert other.json()["id"] != str(row.id)


def test_with_other_options_it_is_refused(client: httpx.Client, catalog: Catalog) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    assert client.post(PATH, headers=headers).status_code == 202
    answer = client.post(PATH, headers=headers, json={"compressionLevel": 9})
    problem(answer, 409, "idempotency-key-reused")
    assert len(catalog.list()) == 1
    problem(client.post(PATH, headers={"Idempotency-Key": "x" * 256}), 422, "invalid-request")


def test_of_two_at_once_with_other_options_one_is_refused(
    client: httpx.Client, catalog: Catalog, runs: SyncPrefectClient
) -> None:
    """Whichever is first: the run does what the row says."""
    headers = {"Idempotency-Key": str(uuid4())}

    def ask(level: int) -> httpx.Response:
        return client.post(PATH, headers=headers, json={"compressionLevel": level})

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, (1, 9) * 3))
    assert {answer.status_code for answer in answers} == {202, 409}
    [row] = catalog.list()
    assert row.flow_run_id is not None
    assert runs.read_flow_run(row.flow_run_id).parameters["options"] == row.options
    for answer, level in zip(answers, (1, 9) * 3, strict=True):
        assert (answer.status_code == 202) == (level == row.options["compressionLevel"])


def test_ten_may_wait_for_each_caller(url: str, client: httpx.Client, catalog: Catalog) -> None:
    answers = [client.post(PATH) for _ in range(MAX_WAITING - 2)]
    with ThreadPoolExecutor(6) as pool:  # at once, or none would be too many
        answers += pool.map(lambda _: client.post(PATH), range(6))
    assert sorted(answer.status_code for answer in answers) == [202] * MAX_WAITING + [429] * 4
    rows = [answer.json() for answer in answers if answer.status_code == 202]
    assert {row["requested_by"] for row in rows} == {"CONVAULT_API_KEY"}
    answer = client.post(PATH)
    problem(answer, 429, "too-many-waiting")
    assert int(answer.headers["retry-after"]) > 0
    assert len(catalog.list()) == MAX_WAITING
    with client_of(url, OTHER) as other:
        assert other.post(PATH).json()["requested_by"] == "other"
    client.post(f"{PATH}/{rows[0]['id']}/cancel").raise_for_status()
    assert client.post(PATH).status_code == 202
