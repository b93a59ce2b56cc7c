"""The parts of a stack: how each is started, with which settings, and where it is asked how it is.

Pure: nothing is started here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

LOOPBACK = "127.0.0.1"
CHECKOUT = Path(__file__).parent.parent.parent
SERVER, WORKER, API = "prefect", "worker", "api"
_EVENTS = timedelta(days=7)
"""that Prefect keeps events, or as long as runs where these are kept for less"""


@dataclass(frozen=True)
class Part:
    """A process of the stack."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    stop_seconds: float = 15.0
    """that it, and what it started, may take to stop before it is killed"""


def addresses(prefect_port: int, api_port: int) -> tuple[str, str]:
    """Of the Prefect server and of the API."""
    return f"http://{LOOPBACK}:{prefect_port}", f"http://{LOOPBACK}:{api_port}"


def shared(
    given: Mapping[str, str], home: Path, address: str, credentials: str, env_file: Path
) -> dict[str, str]:
    """The environment that every part gets: `given`, and where the Prefect server is."""
    kept = {name: value for name, value in given.items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        "CONVAULT_ENV_FILE": str(env_file),
        "PYTHONUNBUFFERED": "1",
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_API_AUTH_STRING": credentials,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def prefect_server(
    environment: Mapping[str, str],
    port: int,
    credentials: str,
    *,
    database: str | None,
    history: timedelta,
) -> Part:
    """`database`: a libpq URL of Postgres; None keeps its data in a file of PREFECT_HOME.
    `history`: how long runs that are over are kept."""
    address = f"http://{LOOPBACK}:{port}"
    settings = {
        "PREFECT_SERVER_API_HOST": LOOPBACK,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_API_AUTH_STRING": credentials,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": address,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": f"{address}/api",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": _seconds(history),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"PT{_seconds(min(history, _EVENTS))}S",
        # A run that has its turn keeps it when the server is started anew,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage."
        "filesystem",
        # and one that waits for its turn asks every five seconds: its worker looks ten ahead. With
        # ten or less it would ask at each look, which costs the server as much as a backup.
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "15",
        # A file takes one writer at a time, and a busy machine lets the others wait.
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    }
    if database is not None:
        settings["PREFECT_API_DATABASE_CONNECTION_URL"] = asyncpg_url(database)
    return Part(
        SERVER,
        (*_python("deployments.stack.prefect_server"), str(port)),
        {**environment, **settings},
    )


def worker(environment: Mapping[str, str], name: str) -> Part:
    """It looks for work every second."""
    settings = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_HEARTBEAT_SECONDS": "15"}
    return Part(
        WORKER,
        (*_python("deployments.stack.worker"), name),
        {**environment, **settings},
        stop_seconds=60,
    )


def api(environment: Mapping[str, str], port: int, key: str | None) -> Part:
    """`key`: for where the settings name none."""
    settings = {} if key is None else {"CONVAULT_API_KEY": key}
    command = ("--host", LOOPBACK, "--port", str(port), "--lifeline")
    return Part(
        API,
        (*_python("api.serving"), *command),
        {**environment, **settings},
    )


def asyncpg_url(url: str) -> str:
    """A libpq URL as SQLAlchemy wants it."""
    scheme, colon, rest = url.partition("://")
    return f"postgresql+asyncpg{colon}{rest}" if scheme in {"postgresql", "postgres"} else url


def _python(module: str) -> tuple[str, ...]:
    # -P: what lies in the working directory is not imported in the place of ours.
    return (sys.executable, "-P", "-m", module)


def _seconds(time: timedelta) -> str:
    return f"{time.total_seconds():.0f}"
