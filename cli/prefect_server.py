"""A Prefect server for the length of one command, where none is configured.

Prefect would start one by itself, but in this process's group: Ctrl-C would stop the server under
the run that is being ended, which then waits for it, for minutes. This one is in a session of its
own, and it ends when its stdin does, so also when this process is killed.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from convault.errors import PrefectUnavailable
from convault.file_lock import alone

_START_SECONDS = 180
"""It takes 5 to 9; a busy machine may take much longer."""
_STOP_SECONDS = 5
_OWN: dict[str, str] = {}
"""the `url` of the server that this process has started"""


def ensure_server() -> None:
    """From here on this process uses a Prefect server: that of PREFECT_API_URL (environment or
    profile), or one that it starts. Imports Prefect. PrefectUnavailable when it does not start."""
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        return
    log = settings.home / "convault-server.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Of two commands that begin together, one after the other: their servers share a database, and
    # while the first one makes its tables the second one fails, or both wait for ever.
    with alone(log.with_suffix(".lock")):
        with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            given = settings.to_environment_variables(exclude_unset=True)
            process = _start(listening, output, given)
        # Registered before Prefect registers what sends its last logs, and so run after it.
        atexit.register(_stop, process)
        _wait(process, url, log)
    os.environ["PREFECT_API_URL"] = _OWN["url"] = url
    refresh_global_settings_context()


@contextmanager
def unwatched() -> Iterator[None]:
    """On a server of this command's own nobody is told that a run has no heartbeat any more, and
    the heart, which looks once in a second whether it may stop, would hold up the run's end."""
    own = os.environ.get("PREFECT_API_URL") == _OWN.get("url", "none")
    with heartless() if own else nullcontext():
        yield


def heartless() -> AbstractContextManager[Any]:
    """Flow runs that begin in the block have no heartbeat."""
    from deployments.settings import with_settings

    return with_settings(flows={"heartbeat_frequency": None})


def _start(
    listening: socket.socket, output: IO[bytes], settings: dict[str, str]
) -> subprocess.Popen[bytes]:
    # As Prefect's own `SubprocessASGIServer` sets them.
    ephemeral = {"PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1",
                 "PREFECT_UI_ENABLED": "0"}  # fmt: skip
    return subprocess.Popen(
        # -P: a `cli` in the working directory is not this one.
        [sys.executable, "-P", "-m", "cli.prefect_server", str(listening.fileno())],
        env={**os.environ, **settings, **ephemeral},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        pass_fds=[listening.fileno()],
        start_new_session=True,
    )


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import httpx

    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            # The socket listens already: the answer comes when the server is there.
            if httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise PrefectUnavailable(
        f"The Prefect server that this command needs did not start; {log} tells why. Try again, or"
        " start one with `prefect server start` and set PREFECT_API_URL to its address."
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_stdin() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(descriptor: int) -> None:
    """The server itself, on a socket that listens already, until stdin ends."""
    import uvicorn

    import tasks  # noqa: F401  sets what Prefect must find in the environment when it is imported

    threading.Thread(target=_end_with_stdin, daemon=True).start()
    config = uvicorn.Config(
        "prefect.server.api.server:create_app",
        factory=True,
        lifespan="on",
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
