"""The whole stack, from nothing to standing, and down again."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

from honcho.printer import Printer

from convault.settings import Settings
from convault.settings import environment as environment_variable
from deployments.stack import parts
from deployments.stack.guard import sign_in_link
from deployments.stack.kept import Kept
from deployments.stack.supervision import Stopped, Supervision


@dataclass(frozen=True)
class Wanted:
    """What stack is asked for."""

    prefect_port: int
    api_port: int
    env_file: Path
    """that the parts read settings from, beside the environment"""
    own_server: bool = True
    """False: the Prefect server of PREFECT_API_URL is somebody else's"""


@dataclass(frozen=True)
class Addresses:
    """Where a stack that stands is reached."""

    api: str
    prefect: str
    sign_in: str | None
    """a link that signs a browser in to the Prefect server; None where it is not ours"""
    api_key: str | None
    """that was made up, because none is set"""
    api_key_is_new: bool
    api_key_file: Path


def stand(
    kept: Kept, settings: Settings, wanted: Wanted, has_key: bool,
    tell: Callable[[Addresses], None],
) -> None:  # fmt: skip
    """Start everything, `tell` where it is once all of it is healthy, and stop in order when told
    to (SIGINT, SIGTERM, SIGHUP). PartFailed, PrefectUnavailable, CatalogUnavailable."""
    credentials = kept.sign_in()
    key, is_new = (None, False) if has_key else kept.api_key()
    server_address, api_address = parts.addresses(wanted.prefect_port, wanted.api_port)
    environment = dict(os.environ)
    if wanted.own_server:
        environment = parts.shared(
            environment, kept.prefect, server_address, credentials, wanted.env_file
        )
    else:
        environment["CONVAULT_ENV_FILE"] = str(wanted.env_file)
        environment.update(_named("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"))
    name = f"{socket.gethostname()}-{secrets.token_hex(3)}"
    server = parts.prefect_server(
        environment,
        wanted.prefect_port,
        credentials,
        database=settings.prefect_database_url(),
        history=timedelta(days=settings.convault_prefect_history_days),
    )
    worker = parts.worker(environment, name)
    api = parts.api(environment, wanted.api_port, key)
    with _told_to_stop() as told, _as_client(environment):
        # Prefect reads its settings when it is imported: these import it.
        from deployments.initialising import in_words, on_the_server
        from deployments.stack.health import answers, before_now, works

        stack = Supervision(Printer(sys.stderr), told)
        try:
            if wanted.own_server:
                kept.prefect.mkdir(mode=0o700, exist_ok=True)
                stack.start(server, lambda: answers(f"{server_address}/api/health"))
            for line in in_words(*on_the_server(settings)):
                stack.say(line)
            since = before_now()
            stack.start(worker, lambda: works(name, since))
            stack.start(api, lambda: answers(f"{api_address}/healthz"))
            tell(
                Addresses(
                    api=api_address,
                    prefect=server_address if wanted.own_server else environment["PREFECT_API_URL"],
                    sign_in=sign_in_link(server_address, credentials)
                    if wanted.own_server
                    else None,
                    api_key=key,
                    api_key_is_new=is_new,
                    api_key_file=kept.api_key_file,
                )
            )
            stack.watch()
        except Stopped:
            stack.say("told to stop before everything was there")
        finally:
            told.and_then(stack.kill)
            stack.say("stopping: the API, then the worker and its runs, then the Prefect server")
            stack.stop()


def _named(*variables: str) -> dict[str, str]:
    """Those that are set, in the environment or in `.env`."""
    found = {variable: environment_variable(variable) for variable in variables}
    return {variable: value for variable, value in found.items() if value}


class _Told:
    """Whether somebody told us to stop; a second time does what was said to be done then."""

    def __init__(self) -> None:
        self._told = False
        self._then: Callable[[], None] | None = None

    def __call__(self) -> bool:
        return self._told

    def and_then(self, do: Callable[[], None]) -> None:
        """Called when we are told from now on: somebody does not want to wait."""
        self._then = do

    def hear(self, number: int, frame: FrameType | None) -> None:
        """A signal's handler."""
        self._told = True
        if self._then is not None:
            self._then()


@contextmanager
def _told_to_stop() -> Iterator[_Told]:
    told = _Told()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, told.hear) for number in numbers}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _as_client(environment: dict[str, str]) -> Iterator[None]:
    """This process speaks to the stack's Prefect server."""
    before = dict(os.environ)
    os.environ.update(environment)
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
