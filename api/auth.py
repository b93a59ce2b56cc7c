"""Who may do what: `Authorization: Bearer <key or token>` or `X-API-Key: <key>`.

Every closed route depends on `caller`, and says with `Security(caller, scopes=[...])` what its
caller must be allowed.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import (
    APIKeyHeader,
    HTTPAuthorizationCredentials,
    HTTPBearer,
    SecurityScopes,
)

from api.attempts import Attempts
from api.caller import Caller, Scope
from api.keys import caller_with, keys_of
from api.problems import Forbidden, TooManyAttempts, Unauthorized
from api.tokens import verifier_of
from convault.errors import ConfigurationError
from convault.settings import Settings

bearer_of = HTTPBearer(
    auto_error=False,
    description="`Authorization: Bearer <key>`, or the access token of a user of the Supabase "
    "project whose `app_metadata` has `convault_role`",
)
header_of = APIKeyHeader(name="X-API-Key", auto_error=False, description="`X-API-Key: <key>`")


class Guard:
    """Knows the keys, and the project whose tokens count."""

    def __init__(self, settings: Settings) -> None:
        """ConfigurationError with the remedy when there is neither a key nor a project."""
        self._keys = keys_of(settings)
        self._attempts = Attempts(settings.convault_failed_sign_ins)
        self._tokens = verifier_of(settings)
        if not self._keys and self._tokens is None:
            raise ConfigurationError(
                "CONVAULT_API_KEY is not set, and the API does not run without one. Make a key, "
                "for example with `openssl rand -hex 32`, and set it in the environment or in "
                ".env; or set CONVAULT_API_KEYS, or SUPABASE_URL for the tokens of its users."
            )

    def holder(self, bearer: str | None, header: str | None) -> Caller | None:
        """Whose key it is, if it is one; waits for nothing."""
        for text in (bearer, header):
            # Headers arrive decoded as Latin-1: this gives back the bytes that were sent.
            found = None if text is None else caller_with(text.encode("latin-1"), self._keys)
            if found is not None:
                return found
        return None

    def caller(self, bearer: str | None, header: str | None, address: str = "") -> Caller:
        """Whose key or token a request from this address brings. Unauthorized, TooManyAttempts,
        SigningKeysUnavailable.

        A right key is taken at any time: whoever shares an address with somebody who guesses is not
        shut out. Tokens cost more to check, and are not looked at while the address is blocked.
        """
        caller = self.holder(bearer, header)
        if caller is not None:
            return caller
        if bearer is None and header is None:
            raise Unauthorized(
                "This needs an API key: send `Authorization: Bearer <key>` or `X-API-Key: <key>`."
            )
        blocked = self._attempts.seconds_blocked(address)
        if blocked:
            raise TooManyAttempts(
                "Too many wrong keys or tokens came from your address. Try again in "
                f"{ceil(blocked)} seconds."
            )
        try:
            if self._tokens is not None and bearer is not None and bearer.count(".") == 2:
                return self._tokens.caller(bearer)
            raise Unauthorized("This is no API key of this server; see its CONVAULT_API_KEY.")
        except Unauthorized:
            self._attempts.failed(address)
            raise


async def caller(
    request: Request,
    needed: SecurityScopes,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_of)],
    header: Annotated[str | None, Depends(header_of)],
) -> Caller:
    """Who asks. Unauthorized without a right key or token, Forbidden when it does not allow what
    the route needs."""
    guard: Guard = request.app.state.guard
    # Each route asks twice: whether anybody is there, and whether they may do this.
    before: Caller | None = getattr(request.state, "caller", None)
    address = request.client.host if request.client else ""
    given = (bearer.credentials if bearer else None, header)
    found = before or guard.holder(*given)
    if found is None:
        # A token's keys may have to be fetched.
        found = await run_in_threadpool(guard.caller, *given, address)
    missing = [scope for scope in needed.scopes if not found.may(Scope(scope))]
    if missing:
        raise Forbidden(
            f"This needs the scope {', '.join(missing)}. Use a key that has it; a signed-in user "
            "needs `convault_role` in the account's app_metadata."
        )
    request.state.caller = found
    return found
