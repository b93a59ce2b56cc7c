"""The Prefect server of a stack, as a process: `python -m deployments.stack.prefect_server PORT`.

Its settings come in PREFECT_* variables (deployments/stack/parts.py). It ends when its stdin does.
"""

from __future__ import annotations

import sys

import tasks  # noqa: F401  sets what Prefect must find in the environment when it is imported
from convault.lifeline import end_with_stdin
from deployments.stack.guard import SameSiteOnly

_GRACE = 3
"""seconds that open requests get when it is told to stop; the UI holds some open for ever"""


def main(port: int) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    import uvicorn
    from prefect.server.api.server import create_app

    end_with_stdin()
    hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
    uvicorn.run(
        SameSiteOnly(create_app(final=True), hosts),
        host="127.0.0.1",
        port=port,
        lifespan="on",
        log_level="warning",
        timeout_graceful_shutdown=_GRACE,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
