"""A pooler in transaction mode, as small as it can be: there is none on PyPI.

What a client sends up to a Sync or a simple query goes to whichever session of the server was given
back last, and when that is in no transaction any more it is given back again, as PgBouncer does.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from tests.patience import PATIENCE

_NO_ENCRYPTION = {80877103, 80877104}
"""SSLRequest and GSSENCRequest, in the place of a protocol version"""


class _Pooler:
    def __init__(self, url: str) -> None:
        given = conninfo_to_dict(url)
        self._path = f"{given['host']}/.s.PGSQL.{given.get('port', 5432)}"
        names = {"user": given["user"], "database": given["dbname"]}
        words = b"".join(f"{k}\0{v}\0".encode() for k, v in names.items()) + b"\0"
        self._startup = struct.pack("!II", len(words) + 8, 3 << 16) + words
        self._idle: list[socket.socket] = []
        self._greeted = b""
        self._lock = threading.Lock()
        self.open: list[socket.socket] = []

    def session(self) -> tuple[socket.socket, bytes]:
        """A new session of the server, and what the server greeted with."""
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._path)
        server.sendall(self._startup)
        self.open.append(server)
        return server, b"".join(_until_ready(server))

    def serve(self, client: socket.socket) -> None:
        """One client, to its end."""
        with client:
            while (code := _startup(client)) in _NO_ENCRYPTION:
                client.sendall(b"N")
            if code is None:
                return
            client.sendall(self._greeting())
            held: socket.socket | None = None
            asked = b""
            while (message := _message(client)) is not None and message[:1] != b"X":
                asked += message
                if message[:1] not in b"QS":
                    continue
                held = held or self._take()
                held.sendall(asked)
                asked = b""
                for answer in _until_ready(held):
                    if answer[:1] == b"Z" and answer[-1:] == b"I":
                        # Before the client hears of it: what it asks next finds this session.
                        self._give_back(held)
                        held = None
                    client.sendall(answer)

    def _greeting(self) -> bytes:
        """What the server greeted the first client with: another session only for its sake would
        keep clients apart that share one."""
        with self._lock:
            if not self.open:
                server, self._greeted = self.session()
                self._idle.append(server)
            return self._greeted

    def _take(self) -> socket.socket:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.session()[0]

    def _give_back(self, server: socket.socket) -> None:
        with self._lock:
            self._idle.append(server)


@contextmanager
def transaction_pooler(url: str) -> Iterator[str]:
    """Pool the database at `url`, which a Unix socket reaches without a password; yields the URL of
    the pooler."""
    pooler = _Pooler(url)
    given = conninfo_to_dict(url)
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=pooler.serve, args=(client,), daemon=True))
                threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        port = listener.getsockname()[1]
        yield f"postgresql://{given['user']}@127.0.0.1:{port}/{quote(str(given['dbname']))}"
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)
    for server in pooler.open:
        server.close()


def _startup(client: socket.socket) -> int | None:
    head = _exactly(client, 8)
    if head is None:
        return None
    length, code = struct.unpack("!II", head)
    _exactly(client, length - 8)
    return int(code)


def _message(peer: socket.socket) -> bytes | None:
    head = _exactly(peer, 5)
    if head is None:
        return None
    (length,) = struct.unpack("!I", head[1:])
    body = _exactly(peer, length - 4)
    return None if body is None else head + body


def _until_ready(server: socket.socket) -> Iterator[bytes]:
    """Messages up to ReadyForQuery, whose last byte is the state of the transaction."""
    while True:
        message = _message(server)
        assert message is not None, "the server closed the session"
        yield message
        if message[:1] == b"Z":
            return


def _exactly(peer: socket.socket, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        if not more:
            return None
        data += more
    return data
