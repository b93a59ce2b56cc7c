"""Receivers of notifications on this machine: HTTP and SMTP, on real sockets."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from tests.patience import PATIENCE

PATIENTLY = f"cto={PATIENCE}&rto={PATIENCE}"
"""for a URL of apprise, which otherwise waits 4 s for a connection, and for what is answered"""


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is given up who is only slow: within these limits apprise loads its plugins, too."""
    for module in ("channels", "telling", "ping"):
        monkeypatch.setattr(f"convault.notify.{module}.SECONDS", PATIENCE)


@dataclass
class Receiver:
    """What came, and how the next request is answered."""

    url: str = ""
    """http://127.0.0.1:port"""
    paths: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)
    status: int = 200
    hold: threading.Event | None = None
    """set: answers drip, a byte at a time, until then"""
    drips: int = 0
    """bytes that dripped"""

    def apprise(self, path: str = "") -> str:
        """Its URL for CONVAULT_NOTIFY_URLS."""
        return f"{self.url.replace('http://', 'json://')}{path}?{PATIENTLY}"

    @property
    def titles(self) -> list[str]:
        """Of the JSON messages of apprise, without the installation's name."""
        return [json.loads(b)["title"].partition(": ")[2] for b in self.bodies if b[:1] == "{"]

    @property
    def messages(self) -> list[str]:
        """Their texts."""
        return [json.loads(b)["message"] for b in self.bodies if b[:1] == "{"]


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """Takes what is posted to it."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            receiver.paths.append(self.path)
            receiver.bodies.append(body)
            self.send_response(receiver.status)
            self.send_header("Content-Length", "1000" if receiver.hold else "2")
            self.end_headers()
            while receiver.hold is not None and not receiver.hold.wait(0.1):
                self.wfile.write(b".")
                receiver.drips += 1
            self.wfile.write(b"ok")

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Mailbox:
    """Mail that came."""

    port: int
    mails: list[tuple[str, str]]
    """subject and text"""


@contextmanager
def smtp_receiver() -> Iterator[Mailbox]:
    """Takes any mail."""
    mails: list[tuple[str, str]] = []

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            mail = message_from_bytes(envelope.content, policy=policy.default)
            text = mail.get_body(("plain", "html"))
            assert text is not None
            mails.append((str(mail["Subject"]), text.get_content()))
            return "250 OK"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=port, ready_timeout=PATIENCE)
    controller.start()
    try:
        yield Mailbox(port, mails)
    finally:
        controller.stop()
