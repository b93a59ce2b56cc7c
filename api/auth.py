"""The API key: `Authorization: Bearer <key>` or `X-API-Key: <key>`."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import Depends
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.problems import Unauthorized
from convault.errors import ConfigurationError
from convault.settings import Settings

_bearer = HTTPBearer(auto_error=False, description="`Authorization: Bearer <CONVAULT_API_KEY>`")
_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="`X-API-Key: <CONVAULT_API_KEY>`"
)


class RequireKey:
    """Dependency of every closed route: Unauthorized unless the request brings the key.

    Digests are compared, in constant time, so that neither the key's length nor how much of it was
    guessed shows in the time an answer takes.
    """

    def __init__(self, settings: Settings) -> None:
        """ConfigurationError with the remedy when CONVAULT_API_KEY is not set."""
        secret = settings.convault_api_key
        key = secret.get_secret_value().strip() if secret else ""
        if not key:
            raise ConfigurationError(
                "CONVAULT_API_KEY is not set, and the API does not run without one. Make a key, "
                "for example with `openssl rand -hex 32`, and set it in the environment or in .env."
            )
        self._digest = _digest(key.encode())

    def __call__(
        self,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        header: Annotated[str | None, Depends(_header)],
    ) -> None:
        """Check one request."""
        given = [bearer.credentials if bearer else None, header]
        # Headers arrive decoded as Latin-1: this gives back the bytes that were sent.
        right = [self._is_key(text.encode("latin-1")) for text in given if text is not None]
        if not right:
            raise Unauthorized(
                "This needs the API key: send `Authorization: Bearer <key>` or `X-API-Key: <key>`."
            )
        if not any(right):
            raise Unauthorized("This is not the API key; it is the server's CONVAULT_API_KEY.")

    def _is_key(self, given: bytes) -> bool:
        return hmac.compare_digest(_digest(given), self._digest)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
