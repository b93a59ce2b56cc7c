"""Requests to the REST API of a Supabase project: only GET and HEAD, with timeouts and retries.

What a request may be tried again after: 408, 425, 429, 5xx and connections that break; never
another 4xx. No answer's text goes into an error: PostgREST's `details` quote values.
"""

from __future__ import annotations

import json
import random
import re
import ssl
import weakref
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
)

from convault.errors import (
    AuthenticationError,
    MissingPrivilege,
    MissingTable,
    SourceError,
    SourceUnavailable,
    UnsupportedSource,
)
from convault.models import TableName
from convault.project import Project
from convault.stores.buckets import Patience
from convault.stores.supabase.api import LONGEST_BACKOFF, seconds_asked

PATIENCE = Patience(request=120.0, retrying=120.0)
"""`request` is the seconds without a byte after which a connection counts as dead"""
MAX_PAGE_BYTES = 32 * 1024 * 1024
"""of an answer with several rows: where one is larger, fewer are asked for"""
MAX_ROW_BYTES = 1 << 30
"""of an answer with one row; Postgres makes no longer text"""
_TRANSIENT = {408, 425, 429}
_NO_VALUE = {"22P02", "22003", "22007", "22008"}
"""no text of that type, a number or time out of its range"""
_UNDEFINED_FUNCTION = "42883"
_CODE = re.compile(r"[A-Z0-9]{5,8}")
_RANGE = re.compile(r"(?:\d+-\d+|\*)/(\d{1,18})", re.ASCII)

T = TypeVar("T")


class TooLarge(Exception):
    """An answer grew beyond what was allowed, and was left."""


class NoSuchValue(Exception):
    """A value in a condition is none of its column's type, or of a type without an equality."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.comparable = sqlstate != _UNDEFINED_FUNCTION
        """whether other values of the type could be compared"""


class Page(NamedTuple):
    """An answer with rows."""

    rows: list[dict[str, Any]]
    bytes: int
    at: str
    """the server's clock, ISO 8601; '' when it did not say"""


class RestApi:
    """The REST API of one project. Usable from any thread; its connections end with it."""

    def __init__(self, project: Project, schema: str, patience: Patience = PATIENCE) -> None:
        self.where = project.url
        self.schema = schema
        self._patience = patience
        self._client = httpx.Client(
            base_url=project.url,
            headers={**project.headers, "Accept-Profile": schema},
            timeout=httpx.Timeout(patience.request, connect=patience.connect),
            follow_redirects=False,  # the key would go along
        )
        weakref.finalize(self, self._client.close)

    def __repr__(self) -> str:
        return f"RestApi({self.where!r})"

    def status(self, path: str, params: Mapping[str, str]) -> int:
        """The status of a GET whose answer is not looked at; 4xx is no error."""

        def ask() -> int:
            try:
                with self._client.stream("GET", path, params=dict(params)) as answer:
                    status = answer.status_code
                    self._require_not_busy(answer)
                    return status
            except httpx.TransportError as error:
                raise _unreachable(self.where, error) from None

        return self._retried(ask)

    def description(self) -> Any:
        """The OpenAPI description of the schema, as JSON."""
        body, _ = self._get("/rest/v1/", {}, None, MAX_PAGE_BYTES, {})
        return self._json(body)

    def page(self, table: TableName, params: Mapping[str, str], *, most: int) -> Page:
        """Rows of a table. TooLarge when the answer has more than `most` bytes."""
        path = f"/rest/v1/{quote(table.name, safe='')}"
        # An older server does not know the zone, and says nothing of it.
        headers = {"Prefer": "timezone=UTC"}
        body, answer = self._get(path, params, table, most, headers)
        rows = self._json(body)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._strange()
        return Page(rows, len(body), _moment(answer.headers.get("Date")))

    def count(self, table: TableName, column: str, where: Mapping[str, str] | None = None) -> int:
        """count(*) of the table, by the server; `column` is one of it, quoted for `select`. Of the
        rows that `where` lets through, where there is one."""
        path = f"/rest/v1/{quote(table.name, safe='')}"
        params = {"select": f"c0:{column}", "limit": "1", **(where or {})}
        _, answer = self._get(path, params, table, MAX_ROW_BYTES, {"Prefer": "count=exact"})
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None:
            raise self._strange()
        return int(found[1])

    def _get(
        self, path: str, params: Mapping[str, str], table: TableName | None, most: int,
        headers: Mapping[str, str],
    ) -> tuple[bytes, httpx.Response]:  # fmt: skip
        def ask() -> tuple[bytes, httpx.Response]:
            try:
                with self._client.stream(
                    "GET", path, params=dict(params), headers=dict(headers)
                ) as answer:
                    body = bytearray()
                    for piece in answer.iter_bytes():
                        body += piece
                        if len(body) > most and answer.is_success:
                            raise TooLarge
                        if len(body) > MAX_PAGE_BYTES and not answer.is_success:
                            break
                    self._check(answer, bytes(body), table)
                    return bytes(body), answer
            except httpx.TransportError as error:
                raise _unreachable(self.where, error) from None
            except httpx.DecodingError:
                raise self._strange() from None

        return self._retried(ask)

    def _retried(self, call: Callable[[], T]) -> T:
        return Retrying(
            retry=retry_if_exception_type(SourceUnavailable),
            stop=stop_after_attempt(self._patience.retries + 1)
            | stop_after_delay(self._patience.retrying),
            wait=_wait,
            reraise=True,
        )(call)

    def _require_not_busy(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status in _TRANSIENT or (status >= 500 and status != 501):
            raise SourceUnavailable(
                f"The REST API at {self.where} answered {status}. Try again in a while; if it "
                "lasts, see whether the project is paused.",
                retry_after=seconds_asked(answer.headers.get("Retry-After")),
            )

    def _check(self, answer: httpx.Response, body: bytes, table: TableName | None) -> None:
        if answer.is_success:
            return
        self._require_not_busy(answer)
        status, code = answer.status_code, _code(body)
        said = f"{status} {code}".strip()
        about = f" for {table}" if table else ""
        start = f"The REST API at {self.where} answered {said}{about}"
        if code == "42501":
            raise MissingPrivilege(
                f"{start}: the key may not read this. Run GRANT SELECT ON "
                f"{table.quoted if table else 'the tables'} TO service_role, and try again.",
            )
        if status in (401, 403):
            raise AuthenticationError(
                f"{start}: the key is wrong. Check SUPABASE_SERVICE_ROLE_KEY, and that it is this "
                "project's."
            )
        if code == "57014":
            raise SourceError(
                f"{start}: the query took longer than statement_timeout allows. Raise it: ALTER "
                "ROLE service_role SET statement_timeout = '5min'; or set DATABASE_URL, which "
                "reads in one snapshot."
            )
        if code in _NO_VALUE or code == _UNDEFINED_FUNCTION:
            raise NoSuchValue(code)
        if code in ("PGRST205", "42P01") and table:
            raise MissingTable(
                f"{start}: the table is gone, or its schema is not exposed any more.", table=table
            )
        if code in ("PGRST106",):
            raise UnsupportedSource(
                f"{start}: the schema {self.schema} is not exposed. Expose it (in the dashboard: "
                "Project Settings > Data API), or set DATABASE_URL."
            )
        if 300 <= status < 400:
            raise SourceError(
                f"{start}: it wants to send the request elsewhere. Nothing was sent there: set "
                "SUPABASE_URL to the right address."
            )
        raise SourceError(f"{start}. Check SUPABASE_URL, or set DATABASE_URL to read by SQL.")

    def _json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise self._strange() from None

    def _strange(self) -> SourceError:
        return SourceError(
            f"{self.where} gave an answer that PostgREST does not give. Check SUPABASE_URL."
        )


def _code(body: bytes) -> str:
    """SQLSTATE or PostgREST's own, nothing else of the answer."""
    try:
        code = json.loads(body)["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""


def _moment(header: str | None) -> str:
    try:
        return parsedate_to_datetime(header or "").isoformat()
    except ValueError:
        return ""


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = float(error.ids.get("retry_after", 0)) if isinstance(error, SourceError) else 0.0
    grown = min(0.2 * 2.0**state.attempt_number, LONGEST_BACKOFF)
    return max(asked, random.uniform(0.1, grown))


def _unreachable(where: str, error: Exception) -> SourceError:
    """The library's own text may quote an address."""
    causes = [error, error.__cause__, error.__context__]
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes) or (
        "CERTIFICATE_VERIFY_FAILED" in str(error)
    ):
        return SourceError(
            f"{where} showed a certificate that this machine does not trust. Correct SUPABASE_URL, "
            "or let the machine trust the authority that signed it."
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        reason = "no connection could be made"
    elif isinstance(error, httpx.TimeoutException):
        reason = "it did not answer in time"
    else:
        reason = "the connection broke"
    return SourceUnavailable(
        f"The REST API at {where} could not be reached: {reason}. See whether SUPABASE_URL is "
        "right and the project runs, and try again."
    )
