"""Calls of the Data API: timeouts, retries, and errors of Convault instead of answers.

Only what may be repeated is sent: reading, changes with a condition, inserts that leave what is
there, and functions made for it. So a call whose answer was lost is simply made again.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx
import postgrest
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from convault.catalog.supabase.answers import refusal, strange, unreachable
from convault.errors import CatalogUnavailable
from convault.project import Project

CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 20.0
"""without a byte, after which a connection counts as dead; far below the 90 s of a lease"""
LONGEST_BACKOFF = 8.0
"""seconds"""
LONGEST_WAIT = 30.0
"""seconds that a server may ask to be left alone (`Retry-After`)"""

T = TypeVar("T")


class DataApi:
    """The Data API of one project. Usable from any thread; its connections end with it."""

    def __init__(self, project: Project, *, attempts: int) -> None:
        """A call is made `attempts` times while the project does not answer."""
        self._attempts = attempts
        session = httpx.Client(
            headers=project.headers,
            timeout=httpx.Timeout(REQUEST_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,  # the key would go along
            # Before postgrest-py takes it apart: its own error has no status, and quotes values.
            event_hooks={"response": [_check]},
        )
        self.client = postgrest.SyncPostgrestClient(
            f"{project.url}/rest/v1",
            headers=dict(project.headers),
            http_client=session,
            retry_enabled=False,  # it retries reading alone, and waits without jitter
        )
        weakref.finalize(self, session.close)

    def function(self, name: str, parameters: Mapping[str, Any]) -> Any:
        """What a function of the database gives. CatalogUnavailable, CatalogError."""
        return self.retried(lambda _: self.client.rpc(name, dict(parameters)).execute().data)

    def retried(self, call: Callable[[bool], T]) -> T:
        """What `call` gives, made again while there is no answer. It is told whether an earlier
        call may have been carried out."""
        retrying = Retrying(
            retry=retry_if_exception_type(CatalogUnavailable),
            stop=stop_after_attempt(self._attempts),
            wait=_wait,
            reraise=True,
        )
        again = False

        def once() -> T:
            nonlocal again
            try:
                return call(again)
            except httpx.TransportError as error:
                raise unreachable(error) from None
            except (httpx.DecodingError, ValueError, RecursionError):
                # Neither an error of Convault's nor postgrest-py's own: no JSON.
                raise strange() from None
            finally:
                again = True

        return retrying(once)


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise strange()  # a proxy's page, which postgrest-py would give as a value
    else:
        answer.read()
        asked = answer.headers.get("Retry-After", "").strip()
        seconds = min(float(asked), LONGEST_WAIT) if asked.isascii() and asked.isdigit() else 0.0
        raise refusal(answer.status_code, answer.content, seconds)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = float(error.ids.get("retry_after", 0)) if isinstance(error, CatalogUnavailable) else 0.0
    backoff = random.uniform(0.1, min(0.2 * 2**state.attempt_number, LONGEST_BACKOFF))
    return max(asked, backoff)
