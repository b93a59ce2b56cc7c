"""How long the API waits for a Prefect server that does not answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from deployments.settings import with_settings

REQUEST_SECONDS = 20.0
"""Prefect's own are 60, and 5 retries: right for a run that is under way. Whoever waits for an
answer of the API has given up by then; a proxy does after 60."""
_RETRIES = 1


def impatient() -> AbstractContextManager[Any]:
    """Inside the block, Prefect's client waits no longer than a client of the API does."""
    return with_settings(api={"request_timeout": REQUEST_SECONDS}, client={"max_retries": _RETRIES})
