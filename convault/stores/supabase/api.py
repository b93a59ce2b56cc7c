"""Requests to Supabase Storage: timeouts, retries, and errors of Convault instead of answers.

Only what may be repeated is sent, and all of it may: creating is refused the second time, replacing
and deleting say the same twice.
"""

from __future__ import annotations

import random
import ssl
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
)

from convault.errors import StoreError, StoreUnavailable
from convault.project import Project
from convault.stores.buckets import Patience
from convault.stores.payload import Payload
from convault.stores.supabase.answers import MAX_ERROR_BYTES, refusal, taken_apart

PATIENCE = Patience(request=60.0)
"""`request` is the seconds without a byte after which a connection counts as dead"""
LONGEST_BACKOFF = 8.0
"""seconds"""
LONGEST_WAIT = 30.0
"""seconds that a server may ask to be left alone (`Retry-After`)"""
_PLAIN = "/!*'()&$@=;:+,"
"""What stands for itself in a path; not every server takes it encoded."""

T = TypeVar("T")


class StorageApi:
    """The Storage of one project. Usable from any thread; its connections end with it."""

    def __init__(self, project: Project, where: str, patience: Patience = PATIENCE) -> None:
        """`where` is the store's URL, for errors; it holds no credentials."""
        self.base = f"{project.url}/storage/v1"
        self.headers = project.headers
        self.where = where
        self.patience = patience
        self.tls = httpx.create_ssl_context()
        self._client = httpx.Client(
            base_url=self.base,
            # A body that a proxy compresses has another length, and no range.
            headers={**project.headers, "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(patience.request, connect=patience.connect),
            verify=self.tls,
            follow_redirects=False,  # the key would go along
        )
        weakref.finalize(self, self._client.close)

    def __repr__(self) -> str:
        return f"StorageApi({self.base!r})"

    def json(self, method: str, path: str, doing: str, body: object = None) -> Any:
        """Ask, trying again, and give the answer's JSON. Refused, StoreUnavailable; StoreError
        when the answer is no JSON."""
        answer = self.retried(lambda: self._ask(method, path, doing, json=body))
        try:
            return answer.json()
        except (ValueError, RecursionError):
            raise self.strange(doing) from None

    def upload(self, path: str, doing: str, data: Payload, headers: Mapping[str, str]) -> None:
        """Send an object's bytes in one request, trying again. Refused, StoreUnavailable."""
        sized = {"Content-Length": str(data.size), **headers}
        self.retried(lambda: self._ask("POST", path, doing, content=data.slices(), headers=sized))

    @contextmanager
    def download(
        self, path: str, doing: str, headers: Mapping[str, str]
    ) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
        """Begin to read an object, once: the answer, and its body as it comes."""
        with (
            self._translated(doing),
            self._client.stream("GET", path, headers=dict(headers)) as answer,
        ):
            self._check(answer, doing)
            yield answer, answer.iter_raw()

    def retried(self, call: Callable[[], T]) -> T:
        """What `call` gives, tried again after StoreUnavailable."""
        return Retrying(
            retry=retry_if_exception_type(StoreUnavailable),
            stop=stop_after_attempt(self.patience.retries + 1)
            | stop_after_delay(self.patience.retrying),
            wait=self._wait,
            reraise=True,
        )(call)

    def pause(self, failures: int, error: BaseException | None) -> float:
        """Seconds before the next try: they grow, differ between workers, and are at least what
        the server asked for."""
        asked = float(error.ids.get("retry_after", 0)) if isinstance(error, StoreError) else 0.0
        first = self.patience.pause
        return max(asked, random.uniform(first / 2, min(first * 2**failures, LONGEST_BACKOFF)))

    def _wait(self, state: RetryCallState) -> float:
        return self.pause(
            state.attempt_number, state.outcome.exception() if state.outcome else None
        )

    def strange(self, doing: str) -> StoreError:
        """The error for an answer that Supabase Storage does not give."""
        return StoreError(
            f"While {doing}, the store {self.where} gave an answer that Supabase Storage does not "
            "give. Check SUPABASE_URL, and update the server, if it is yours.",
            store=self.where,
        )

    def _ask(self, method: str, path: str, doing: str, **more: Any) -> httpx.Response:
        with self._translated(doing), self._client.stream(method, path, **more) as answer:
            self._check(answer, doing)
            answer.read()
            return answer

    def _check(self, answer: httpx.Response, doing: str) -> None:
        if answer.is_success:
            return
        body = b""
        for chunk in answer.iter_raw():
            body += chunk
            if len(body) > MAX_ERROR_BYTES:
                break
        raise refusal(
            doing,
            self.where,
            taken_apart(answer.status_code, body),
            seconds_asked(answer.headers.get("Retry-After")),
        )

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise unreachable(doing, self.where, error) from None
        except httpx.DecodingError:
            raise self.strange(doing) from None


def object_path(bucket: str, name: str) -> str:
    """An object in the path of a request. `name` has no segment `.` or `..`, which clients take
    for steps on the way."""
    return f"{quote(bucket, safe='')}/{quote(name, safe=_PLAIN)}"


def seconds_asked(header: str | None) -> float:
    """`Retry-After` in seconds, at most 30; the other form of it, a date, counts as none."""
    text = (header or "").strip()
    return min(float(text), LONGEST_WAIT) if text.isascii() and text.isdigit() else 0.0


def unreachable(doing: str, where: str, error: Exception) -> StoreError:
    """The error for a connection that failed. The library's own text may quote an address."""
    start = f"While {doing}, the store {where}"
    causes = [error, error.__cause__, error.__context__]
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes) or (
        "CERTIFICATE_VERIFY_FAILED" in str(error)
    ):
        return StoreError(
            f"{start} showed a certificate that this machine does not trust. Correct SUPABASE_URL, "
            "or let the machine trust the authority that signed it.",
            store=where,
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        reason = "no connection could be made"
    elif isinstance(error, httpx.TimeoutException | TimeoutError):
        reason = "it did not answer in time"
    else:
        reason = "the connection broke"
    return StoreUnavailable(
        f"{start} could not be reached: {reason}. See whether SUPABASE_URL is right and the "
        "project runs, and try again.",
        store=where,
    )
