"""How long the API waits for a Prefect server that does not answer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

_PATIENCE = {PREFECT_API_REQUEST_TIMEOUT: 10.0, PREFECT_CLIENT_MAX_RETRIES: 1}
"""Seconds per request, and retries. Prefect's own are 60 and 5, right for a run that is under way;
whoever waits for an answer of the API has given up by then."""


def impatient() -> AbstractContextManager[Any]:
    """Inside the block, Prefect's client waits no longer than a client of the API does."""
    return temporary_settings(_PATIENCE)
