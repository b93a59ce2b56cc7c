"""Serve an application in a thread, and look at its answers."""

from __future__ import annotations

import contextvars
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch
from uuid import uuid4

import httpx
import uvicorn
from fastapi import FastAPI

from api.patience import _RETRIES as _OWN_RETRIES
from tests.patience import PATIENCE

KEY = "a-key-for-tests-only"
PATH = "/api/communication/backups"
_SECONDS, _RETRIES = 60.0, 6
"""that the API waits here for a Prefect server, which shares its cores with three tests, and how
often it asks again one whose database is busy: two minutes in all, for which the client waits"""


@contextmanager
def served(app: FastAPI, *, patience: float | None = None) -> Iterator[str]:
    """Serve `app` on a free port of 127.0.0.1; yields its URL. It waits `patience` seconds for a
    Prefect server, and asks as often as it does elsewhere; by default for as long, and as often, as
    a busy one may need.

    It does not look for lost runs: rows that a test makes by hand have none to be found."""
    # Both are set in any case: around this server a module may have another one.
    seconds, retries = (_SECONDS, _RETRIES) if patience is None else (patience, _OWN_RETRIES)
    with (
        patch("api.patience.REQUEST_SECONDS", seconds),
        patch("api.patience._RETRIES", retries),
        patch("api.settling.look", lambda *_: None),
        _running(app) as url,
    ):
        yield url


@contextmanager
def _running(app: FastAPI) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, ws="none", timeout_graceful_shutdown=5,
            # After 5 s a client of httpx gives its connection up as well: it may ask just then.
            timeout_keep_alive=600,
        )
    )  # fmt: skip
    # In a copy of this context, so that Prefect's settings of the test hold in the server too.
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(server.run, [listener]), name="api"
    )
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server took too long to start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=PATIENCE)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


def client_of(url: str, key: str | None = KEY) -> httpx.Client:
    """A client that brings `key`."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=url, headers=headers, timeout=PATIENCE)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    """Check that an answer is a problem of that status and code; returns its members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = answer.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:convault:problem:{code}"
    assert body["title"]
    assert body["detail"]
    assert body["error"] == body["detail"]
    assert body["instance"] == answer.request.url.path
    return body


def refused(client: httpx.Client, method: str, path: str, status: int, code: str) -> httpx.Response:
    """Ask for a path of the OpenAPI document, with some id in it, and check that it is refused. An
    answer to HEAD has no body to look at."""
    answer = client.request(method, re.sub(r"{[a-z]+_id}", str(uuid4()), path))
    if method == "head":
        assert (answer.status_code, answer.content) == (status, b"")
    else:
        problem(answer, status, code)
    return answer
