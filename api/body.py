"""Reading a JSON body, bounded.

FastAPI's own body parameters are read before the key is checked, whole, and whatever their type;
this is a dependency, so it comes after the key and reads no more than it must.
"""

from __future__ import annotations

from asyncio import timeout
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from api.problems import BodyTooLarge, MalformedBody, UnsupportedMediaType
from convault.errors import OptionsError
from convault.validation import reasons

_Model = TypeVar("_Model", bound=BaseModel)

MAX_BODY_BYTES = 1024 * 1024
"""Options take a few hundred bytes, with ten thousand ids 400 KB (`models.MAX_OPTIONS_BYTES`)."""
LINGER_SECONDS = 0.5
"""that a body which is too large is read on before it is refused"""


async def json_body(request: Request) -> object:
    """The body as JSON has it, `{}` when there is none.

    MalformedBody, BodyTooLarge, UnsupportedMediaType.
    """
    body = await _bounded(request)
    if not body:
        return {}
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(
            "The body must be JSON and say so: send `Content-Type: application/json`."
        )
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        # The parser's message would quote the body.
        raise MalformedBody(
            "The body is not JSON in UTF-8. Send an object of options, or no body for the defaults."
        ) from None


def parsed(model: type[_Model], body: object) -> _Model:
    """The body as a model. OptionsError names the fields that are wrong, and repeats no value."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise OptionsError(f"This cannot be done: {reasons(error, 'body')}. See /docs.") from None


def described(model: type[BaseModel], example: object) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for a body that `json_body` reads."""
    schema = model.model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": bool(schema.get("required")), "content": content}}


async def _bounded(request: Request) -> bytes:
    too_large = BodyTooLarge(
        f"The body is larger than {MAX_BODY_BYTES} bytes, which no options need."
    )
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    pieces = request.stream()
    try:
        async for piece in pieces:
            body += piece
            if len(body) > MAX_BODY_BYTES:
                await _let_go_by(pieces)
                raise too_large
    except ClientDisconnect:
        raise MalformedBody("The connection closed before the whole body had come.") from None
    return bytes(body)


async def _let_go_by(pieces: AsyncIterator[bytes]) -> None:
    """Take what is on its way already, for a moment: a connection that is closed over unread bytes
    is reset, and the answer may be lost with it."""
    with suppress(TimeoutError):
        async with timeout(LINGER_SECONDS):
            async for _ in pieces:
                pass
