"""Somebody is told how a run ended: a dead man's switch outside, and the channels."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar
from uuid import uuid4

from prefect import get_run_logger

from convault.errors import ConfigurationError
from convault.notify.ping import Ping, Signal
from convault.notify.reporting import look_beside
from convault.settings import Settings, load_settings
from flows.running import code_of

P = ParamSpec("P")
R = TypeVar("R")


def told(run: Callable[P, R]) -> Callable[P, R]:
    """The backup `run`, of whose begin and end somebody is told. That this fails is logged, and
    changes nothing of the run."""

    @wraps(run)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            settings = load_settings()
        except ConfigurationError:
            return run(*args, **kwargs)  # which says the same, and whom to tell is not known
        ping = Ping.of(settings, uuid4())
        _signal(ping, "start")
        try:
            done = run(*args, **kwargs)
        except BaseException as error:
            _signal(ping, "fail", code_of(error))
            if isinstance(error, Exception):  # who is being stopped has no time
                _look(settings)
            raise
        _signal(ping, "success")
        _look(settings)
        return done

    return call


def warn(line: str) -> None:
    """In the run's log."""
    get_run_logger().warning("%s", line)


def _look(settings: Settings) -> None:
    if settings.convault_notify_urls is not None:
        look_beside(settings, warn)


def _signal(ping: Ping, signal: Signal, code: str = "") -> None:
    why = ping.send(signal, code)
    if why:
        warn(f"CONVAULT_PING_URL was not reached ({signal}): {why}. The backup goes on.")
