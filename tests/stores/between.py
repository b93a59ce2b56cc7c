"""A proxy between a store and a real server, that does what networks and busy servers do.

The servers that run here never fail by themselves, so something has to stand between; what answers
in the end is still the real server.
"""

from __future__ import annotations

import http.client
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import NamedTuple
from urllib.parse import urlsplit

from convault.stores.buckets import Patience
from tests.patience import PATIENCE

HASTY = Patience(connect=PATIENCE, request=PATIENCE, retries=2, retrying=PATIENCE, pause=0.02)
"""For faults that do not go away. What ends it is the number of tries: a machine that stands still
for a while makes them neither more nor fewer."""
HANGING = 2.0
"""seconds for a request that is never answered, enough to send it"""


class Fault(StrEnum):
    BUSY = "answers 503 instead of asking the server"
    TOO_MANY = "answers 429, and to come back after a second"
    BUSY_INSIDE = "answers 400 with a body that says 503, as Supabase's Storage does"
    FORBIDDEN = "answers 403"
    FORBIDDEN_INSIDE = "answers 400 with a body that says 403"
    NO_ROUTE = "answers 404 as Supabase does where it does not know the path"
    ELSEWHERE = "answers 307 with another address"
    DROP = "closes the connection without asking the server"
    HALF = "sends the server half of the request's body, and closes both connections"
    LOST = "asks the server, and closes the connection without its answer"
    CUT = "closes the connection in the middle of the answer's body"
    HANG = "does not answer before the proxy ends"
    SHIFT = "asks for other bytes than were asked for"
    WHOLE = "asks for all bytes where some were asked for, and answers 200"


_INSTEAD: dict[Fault, tuple[int, list[tuple[str, str]], bytes]] = {
    Fault.BUSY: (503, [], b""),
    Fault.TOO_MANY: (429, [("Retry-After", "1")], b""),
    Fault.BUSY_INSIDE: (
        400, [], b'{"statusCode": "503", "error": "SlowDown", "message": "Please reduce"}'
    ),
    Fault.FORBIDDEN: (403, [], b""),
    Fault.FORBIDDEN_INSIDE: (
        400, [], b'{"statusCode": "403", "error": "Unauthorized", "message": "invalid signature"}'
    ),
    Fault.NO_ROUTE: (
        404, [], b'{"message": "Route POST:/x not found", "error": "Not Found", "statusCode": 404}'
    ),
    Fault.ELSEWHERE: (307, [("Location", "http://127.0.0.1:9/elsewhere")], b""),
}  # fmt: skip


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    size: int
    """of its body"""


class Between:
    """A running proxy."""

    def __init__(self, endpoint: str, plan: Callable[[Request, int], Fault | int | None]) -> None:
        self._server = urlsplit(endpoint)
        self._plan = plan
        self._lock = Lock()
        self.ended = Event()
        self.connections: list[socket.socket] = []
        self.requests: list[Request] = []
        """every one that came, in this order"""

    def fault(self, request: Request) -> Fault | int | None:
        with self._lock:
            self.requests.append(request)
            return self._plan(request, len(self.requests) - 1)

    def begin(self, request: Request, body: bytes) -> None:
        """Send the server a request that breaks off after `body`."""
        with closing(self._connection()) as connection:
            self._send(connection, request, body)
            # It answers, or closes the connection, when it has seen that no more comes.
            connection.sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while connection.sock.recv(65536):
                    pass

    def ask(self, request: Request, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """The server's answer."""
        with closing(self._connection()) as connection:
            self._send(connection, request, body)
            answer = connection.getresponse()
            content = answer.read()
        return answer, content

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            self._server.hostname or "", self._server.port, timeout=PATIENCE
        )

    @staticmethod
    def _send(connection: http.client.HTTPConnection, request: Request, body: bytes) -> None:
        # `Host` as it came: it is part of what was signed.
        connection.putrequest(
            request.method, request.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)


def _handler(between: Between) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            between.connections.append(self.connection)

        def _pass_on(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                return self._close()  # the store gave up
            request = Request(self.command, self.path, dict(self.headers.items()), len(body))
            fault = between.fault(request)
            if fault in _INSTEAD:
                return self._answer(*_INSTEAD[fault])
            if fault is Fault.HALF:
                between.begin(request, body[: length // 2])
                return self._close()
            if isinstance(fault, int):
                return self._answer(fault, [], b"")
            if fault is Fault.HANG:
                between.ended.wait()
            if fault is Fault.HANG or fault is Fault.DROP:
                return self._close()
            if fault is Fault.SHIFT:
                request.headers.update({"range": "bytes=1-4"})
            if fault is Fault.WHOLE:
                request.headers.pop("range")  # moto alone takes it: rclone would miss it signed
            try:
                answer, content = between.ask(request, body)
            except (OSError, http.client.HTTPException):
                return self._close()  # so did the server
            if fault is Fault.LOST:
                return self._close()
            headers = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in ("connection", "transfer-encoding", "keep-alive", "date")
            ]
            if fault is Fault.CUT:
                self._answer(answer.status, headers, content, sent=len(content) // 2)
                return self._close()
            return self._answer(answer.status, headers, content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _pass_on  # noqa: N815

        def _answer(
            self, status: int, headers: list[tuple[str, str]], content: bytes,
            sent: int | None = None,
        ) -> None:  # fmt: skip
            self.send_response(status)
            if not any(name.lower() == "content-length" for name, _ in headers):
                headers = [*headers, ("Content-Length", str(len(content)))]
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(content[:sent])
                self.wfile.flush()
            except ConnectionError:
                self.close_connection = True  # the store had seen enough

        def _close(self) -> None:
            self.close_connection = True
            # A reset, which is what a lost connection looks like; waits for nothing.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def log_message(self, *_: object) -> None:
            """Tests read `requests`."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """A connection that the store closed is none."""


@contextmanager
def between(
    endpoint: str, plan: Callable[[Request, int], Fault | int | None] = lambda request, number: None
) -> Iterator[tuple[Between, str]]:
    """A proxy to `endpoint`, and its own endpoint. `plan` says what happens to each request, which
    it gets with its number, counted from 0; a number is a status to answer with."""
    proxy = Between(endpoint, plan)
    with _Server(("127.0.0.1", 0), _handler(proxy)) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), name="between")
        thread.start()
        try:
            yield proxy, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            proxy.ended.set()
            server.shutdown()
            thread.join()
            for connection in proxy.connections:  # those that the store keeps for later
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
