"""Passes what a client says to a server on, and counts its requests."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.patience import PATIENCE

_REQUEST = re.compile(
    rb"(GET|POST|PUT|PATCH|DELETE|HEAD) (/[^ ]*) HTTP/1\.1\r\n"
    # JSON holds no line break, and what goes over a WebSocket is masked.
)
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


class Counted:
    """The requests that went through, by method and path, ids left out."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def see(self, method: bytes, path: bytes) -> None:
        """One more."""
        named = _ID.sub("*", path.decode().partition("?")[0])
        with self._lock:
            self.requests[f"{method.decode()} {named}"] += 1

    @property
    def total(self) -> int:
        """All of them."""
        return self.requests.total()


@contextmanager
def counted(host: str, port: int) -> Iterator[tuple[int, Counted]]:
    """A port of 127.0.0.1 that leads to `host:port`, and what came there."""
    found = Counted()
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    sockets: list[socket.socket] = []

    def accept() -> None:
        while not over.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection((host, port))
            sockets.extend((client, server))
            threading.Thread(target=_pass_on, args=(client, server, found), daemon=True).start()
            threading.Thread(target=_pass_on, args=(server, client, None), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1], found
    finally:
        over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        thread.join(PATIENCE)


def _pass_on(source: socket.socket, target: socket.socket, found: Counted | None) -> None:
    """Until one of them is done. Heads may come in pieces: the end of what was seen is kept."""
    tail = b""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if found is not None:
                seen = tail + data
                end = 0
                for match in _REQUEST.finditer(seen):
                    found.see(match[1], match[2])
                    end = match.end()
                tail = seen[max(end, len(seen) - 2048) :]
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
