"""Whatever answers at SUPABASE_URL, with whatever: an error that says so, and never the key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from api.keyset import KeySet
from api.problems import SigningKeysUnavailable
from convault.catalog.supabase.api import DataApi
from convault.catalog.supabase.tables import by_key
from convault.doctor import api as doctor
from convault.doctor.finding import State
from convault.errors import ConvaultError
from convault.files.addresses import Address
from convault.files.storage import FileStorage
from convault.models import TableName
from convault.project import Project
from convault.sources.rest import described
from convault.sources.rest.api import RestApi
from convault.stores.buckets import Patience
from convault.stores.supabase import open_supabase

KEY = "sb_secret_canary"
HASTY = Patience(connect=2, request=5, retries=1, retrying=2, pause=0.01)
T = TableName("public", "t")
JSON = "application/json"

DEEP = b"[" * 100_000
OBJECT = b'{"id": "bucket", "public": false, "last_modified": "2026-01-01T00:00:00Z", "size": %s}'
ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "deep": (200, {"Content-Type": JSON}, DEEP),
    "deep and refused": (404, {"Content-Type": JSON}, DEEP),
    "a page": (200, {"Content-Type": "text/html"}, b"<html>canary</html>"),
    "null": (200, {"Content-Type": JSON}, b"null"),
    "lists": (200, {"Content-Type": JSON}, b"[[1], null]"),
    "no UTF-8": (200, {"Content-Type": JSON}, b'{"a": "\xff"}'),
    "no gzip": (200, {"Content-Type": JSON, "Content-Encoding": "gzip"}, b"{}"),
    "no gzip, refused": (400, {"Content-Type": JSON, "Content-Encoding": "gzip"}, b"{}"),
    "endless size": (200, {"Content-Type": JSON}, OBJECT % b"1e999"),
    "long number": (200, {"Content-Type": JSON, "Content-Range": f"0-0/{'9' * 5000}"},
                    OBJECT % (b"9" * 5000)),
}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    answer = ANSWERS["null"]

    def do(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, body = type(self).answer
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = do  # noqa: N815  as the library calls them

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield Project(f"http://127.0.0.1:{server.server_port}", {"apikey": KEY})
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def calls(project: Project) -> list[Callable[[], object]]:
    files, rest = FileStorage(project, HASTY), RestApi(project, "public", HASTY)
    catalog = DataApi(project, attempts=1)
    return [
        files.buckets,
        lambda: files.look(Address("bucket", "a")),
        lambda: list(files.names("bucket")),
        lambda: rest.page(T, {}, most=1 << 20),
        lambda: rest.count(T, "id"),
        lambda: described.read(rest.description(), "public"),
        lambda: list(by_key(catalog, "t", "id", "id")),
    ]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_nobody_gives_is_an_error_of_convaults(
    answer: tuple[int, dict[str, str], bytes], project: Project,
    calls: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SUPABASE_URL", project.url)
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", KEY)
    monkeypatch.setattr(_Handler, "answer", answer)
    store = open_supabase("supabase://bucket/in", patience=HASTY)  # looks at the bucket anew
    for call in (*calls, lambda: store.head("a"), lambda: list(store.list())):
        with pytest.raises(ConvaultError) as caught:
            call()
        assert "canary" not in repr(caught.value.__dict__) + str(caught.value)
    with pytest.raises(SigningKeysUnavailable):
        KeySet(project.url).key("any", "ES256")
    told = doctor.ask(project, "bucket")
    if told.status != 200:
        assert doctor.judge_answer("host", None, told).state is State.RED
