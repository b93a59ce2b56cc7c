"""`POST` while no Prefect server can take the run: 503 soon, and the row says why."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from api.app import create_app
from convault.catalog.base import BackupStatus, Catalog
from convault.settings import Settings
from tests.patience import PATIENCE
from tests.serving import PATH, client_of, problem, served


def refused(client: httpx.Client, catalog: Catalog) -> str:
    """Ask for a backup that cannot be started; returns the message."""
    answer = client.post(PATH, json={"compression_level": 9})
    body = problem(answer, 503, "prefect-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    [row] = catalog.list()
    assert row.status == BackupStatus.FAILED
    assert row.error == f"The run was not started: {body['error']}"
    assert row.options["compressionLevel"] == 9
    assert row.flow_run_id is None
    return str(body["error"])


def test_nobody_listens(client: httpx.Client, catalog: Catalog) -> None:
    started = time.monotonic()
    assert "PREFECT_API_URL" in refused(client, catalog)
    assert time.monotonic() - started < 20
    # The next one is tried again, and the list tells both.
    problem(client.post(PATH), 503, "prefect-unavailable")
    assert [row["status"] for row in client.get(PATH).json()["backups"]] == ["failed", "failed"]


def test_no_address_is_set(settings: Settings, catalog: Catalog) -> None:
    """Prefect would start a server of its own, which no worker knows."""
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        served(create_app(settings)) as url,
        client_of(url) as client,
    ):
        assert "PREFECT_API_URL is not set" in refused(client, catalog)


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"


def test_it_takes_the_request_and_never_answers(
    settings: Settings, catalog: Catalog, silent_server: str
) -> None:
    with (
        temporary_settings({PREFECT_API_URL: silent_server}),
        served(create_app(settings), patience=0.5) as url,
        client_of(url) as client,
    ):
        started = time.monotonic()
        refused(client, catalog)
        assert time.monotonic() - started < 40


@pytest.fixture
def another_server() -> Iterator[str]:
    """Answers 404 to everything: a server, but not Prefect's, or one without the deployment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(PATIENCE)
                    connection.recv(65536)
                    connection.sendall(
                        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
                        b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
                    )

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_deployment_is_not_there(
    settings: Settings, catalog: Catalog, another_server: str
) -> None:
    with (
        temporary_settings({PREFECT_API_URL: another_server}),
        served(create_app(settings)) as url,
        client_of(url) as client,
    ):
        assert "prefect deploy --all" in refused(client, catalog)
