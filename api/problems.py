"""Problem details (RFC 9457): what every answer but a success looks like.

Beside the domain's errors (convault/errors.py) there are those of a request itself:

ApiError
├── MalformedBody         400  the body is not JSON, or did not come whole
├── Unauthorized          401  no key or token, or a wrong one
├── Forbidden             403  a right one that does not allow this
├── LiveRestoreForbidden  403  a restore that may not be started from here
├── KeyReused             409  an Idempotency-Key that came with other options before
├── BodyTooLarge          413  more bytes than any options need
├── UnsupportedMediaType  415  a body that does not say it is JSON
├── RangeUnsatisfiable    416  a range that begins behind the end
├── InvalidRequest        422  a parameter is wrong
├── TooManyAttempts       429  wrong keys or tokens, one after the other
├── TooManyWaiting        429  the caller has enough backups waiting
└── SigningKeysUnavailable 503  tokens cannot be checked for now (transient)
"""

from __future__ import annotations

import inspect
import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convault.errors import ConvaultError
from convault.validation import words_of

MEDIA_TYPE = "application/problem+json"

RETRY_SECONDS = 10
"""`Retry-After` of a transient error: about as long as a database or a server takes to restart."""

_log = logging.getLogger("convault.api")


class ApiError(ConvaultError):
    """The request itself cannot be served."""

    headers: tuple[tuple[str, str], ...] = ()


class MalformedBody(ApiError):
    """The body is not JSON, or did not come whole."""

    code, http_status = "malformed-body", 400


class Unauthorized(ApiError):
    """The request brings no API key or token, or a wrong one."""

    code, http_status = "unauthorized", 401
    headers = (("WWW-Authenticate", 'Bearer realm="convault"'),)


class Forbidden(ApiError):
    """The key or token is right, and does not allow this."""

    code, http_status = "forbidden", 403


class LiveRestoreForbidden(ApiError):
    """The API may not restore into live tables."""

    code, http_status = "live-restore-forbidden", 403


class KeyReused(ApiError):
    """The Idempotency-Key came with other options before."""

    code, http_status = "idempotency-key-reused", 409


class BodyTooLarge(ApiError):
    """The body has more bytes than any options need."""

    code, http_status = "body-too-large", 413
    headers = (("Connection", "close"),)


class UnsupportedMediaType(ApiError):
    """The body does not say that it is JSON."""

    code, http_status = "unsupported-media-type", 415
    headers = (("Accept", "application/json"),)


class RangeUnsatisfiable(ApiError):
    """The range that is asked for begins behind the end."""

    code, http_status = "range-unsatisfiable", 416

    def __init__(self, size: int) -> None:
        """`size` of the whole, in bytes."""
        super().__init__(f"The range begins behind the end: the whole has {size} bytes.", size=size)
        self.headers = (("Content-Range", f"bytes */{size}"),)


class InvalidRequest(ApiError):
    """A parameter of the request is wrong."""

    code, http_status = "invalid-request", 422


class TooManyAttempts(ApiError):
    """Too many wrong keys or tokens came from this address."""

    code, http_status, transient = "too-many-attempts", 429, True


class TooManyWaiting(ApiError):
    """The caller has enough backups waiting."""

    code, http_status, transient = "too-many-waiting", 429, True


class SigningKeysUnavailable(ApiError):
    """The Auth server does not give the keys with which tokens are checked."""

    code, http_status, transient = "signing-keys-unavailable", 503, True


class FieldError(BaseModel):
    """A parameter of the request that is wrong."""

    field: str
    message: str


class Problem(BaseModel):
    """An error as the API tells it. `code` is stable; `detail` and `error` are for people."""

    type: str = Field(description="`urn:convault:problem:` and the code")
    title: str
    status: int
    detail: str
    instance: str = Field(description="the path that was asked for")
    code: str
    error: str = Field(description="the same text as `detail`")
    errors: list[FieldError] | None = None
    reference: str | None = Field(default=None, description="what to look for in the server's log")


def answer(
    request: Request,
    status: int,
    code: str,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> JSONResponse:
    """A problem as a response."""
    problem = Problem(
        type=f"urn:convault:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        code=code,
        error=detail,
        **members,
    )
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=status,
        # What is wrong now may be right in a moment; and 404 and 410 may be kept unless told.
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def documented(error: type[ConvaultError], message: str) -> dict[int | str, dict[str, Any]]:
    """The entry for FastAPI's `responses` that documents `error` with an example."""
    example = Problem(
        type=f"urn:convault:problem:{error.code}",
        title=_title(error),
        status=error.http_status,
        detail=message,
        instance="/api/communication/backups",
        code=error.code,
        error=message,
    )
    content = {"schema": Problem.model_json_schema(), "example": example.model_dump(
        mode="json", exclude_none=True
    )}  # fmt: skip
    return {error.http_status: {"description": _title(error), "content": {MEDIA_TYPE: content}}}


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""
    app.add_exception_handler(ConvaultError, _convault_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_middleware(UnexpectedErrors)


def _title(error: type[ConvaultError]) -> str:
    return (inspect.getdoc(error) or error.code).splitlines()[0].rstrip(".")


def _convault_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ConvaultError)
    headers = dict(error.headers) if isinstance(error, ApiError) else {}
    if error.transient:
        headers["Retry-After"] = str(RETRY_SECONDS)
    return answer(
        request, error.http_status, error.code, _title(type(error)), error.message, headers
    )


def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # The first element of `loc` says where (query, path, header); `input` is never repeated.
    wrong = [
        FieldError(field=".".join(map(str, e["loc"][1:])), message=words_of(e["msg"]))
        for e in error.errors()
    ]
    detail = "; ".join(f"{e.field}: {e.message}" for e in wrong)
    return answer(
        request,
        InvalidRequest.http_status,
        InvalidRequest.code,
        _title(InvalidRequest),
        f"This request cannot be served: {detail}.",
        errors=wrong,
    )


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    """What routing itself raises: 404 and 405."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = {
        HTTPStatus.NOT_FOUND: "There is nothing at this path; see /docs for the paths there are.",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not possible here; see /docs.",
    }.get(status, f"{status.phrase}.")
    code = status.phrase.lower().replace(" ", "-")
    return answer(request, status, code, status.phrase, detail, error.headers)


class UnexpectedErrors:
    """ASGI middleware: an error nobody thought of becomes a 500 with a reference.

    Not an exception handler for `Exception`: Starlette raises the error again after such a handler,
    and the server would log its message, which may quote a row or a password. The log here has the
    types and the places in the code, no messages.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - whatever it is, no client may see it
            reference = str(uuid4())
            _log.error("unexpected error %s in %s %s\n%s", reference, scope["method"],
                       scope["path"], "".join(places(error)))  # fmt: skip
            if started:
                # Cut the answer off, so that no client takes it for a whole one.
                raise RuntimeError(f"the answer broke off, see {reference}") from None
            detail = f"Something unexpected happened; the server's log has it as {reference}."
            response = answer(
                Request(scope), 500, "unexpected", "Unexpected error", detail, reference=reference
            )
            await response(scope, receive, send)


def places(error: BaseException) -> list[str]:
    """Types and stack of `error` and of what it came from, without any message."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        lines.append(f"{type(cause).__module__}.{type(cause).__qualname__}\n")
        lines += traceback.format_tb(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    return lines
