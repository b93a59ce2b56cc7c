"""Between Convault and the server: what the server says, byte for byte."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import quote, unquote

_SOCKET = ".s.PGSQL.5432"


class Wire:
    """What went over all connections so far."""

    def __init__(self, url: str) -> None:
        self.url = url
        """of the database, by way of this"""
        self._lock = Lock()
        self._from_server: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[Thread] = []

    @property
    def from_server(self) -> bytes:
        """A connection's bytes one behind the other."""
        with self._lock:
            return b"\n".join(bytes(said) for said in self._from_server)

    def serve(self, client: socket.socket, server: socket.socket) -> None:
        said = bytearray()
        with self._lock:
            self._from_server.append(said)
            self._sockets += [client, server]
        for pump in ((client, server, None), (server, client, said)):
            thread = Thread(target=self._pump, args=pump, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End every connection."""
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._sockets:
            end.close()

    def _pump(self, source: socket.socket, sink: socket.socket, record: bytearray | None) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if record is not None:
                    with self._lock:
                        record += data
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def tapped(url: str) -> Iterator[Wire]:
    """A way to the database at `url`, whose server listens on a Unix socket."""
    there = Path(unquote(url.rpartition("host=")[2])) / _SOCKET
    here = Path(tempfile.mkdtemp(prefix="cv-wire-"))
    wire = Wire(f"{url.rpartition('host=')[0]}host={quote(str(here), safe='')}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(here / _SOCKET))
        listener.listen()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    server = socket.socket(socket.AF_UNIX)
                    server.connect(str(there))
                    wire.serve(client, server)

        thread = Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield wire
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            wire.close()
            shutil.rmtree(here)
