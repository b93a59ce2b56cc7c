"""Tokens of users who signed in to the Supabase project.

A project signs with its secret (HS256, SUPABASE_JWT_SECRET) or with key pairs (ES256, RS256). Of
what a token says of itself only the algorithm and the key's id count: the secret checks HS256
alone, a public key the one algorithm that it is for. So `none`, and a public key passed off as a
secret, get nowhere.
"""

from __future__ import annotations

from typing import Any

import jwt

from api.caller import ROLES, Caller
from api.keyset import KeySet
from api.problems import Unauthorized
from convault.errors import ConfigurationError
from convault.project import checked_url
from convault.settings import Settings

LEEWAY = 10.0
"""seconds that clocks may differ"""
MAX_CHARACTERS = 16 * 1024
_LEAST_SECRET_BYTES = 32
_AUDIENCE = "authenticated"


class TokenVerifier:
    """Checks the tokens of one project."""

    def __init__(self, supabase_url: str, secret: str | None, issuer: str | None) -> None:
        """`supabase_url` is https://host; `secret` is None where tokens are signed with key pairs
        alone; `issuer` is what tokens name, `<supabase_url>/auth/v1` when it is None."""
        self._secret = secret
        self._keys = KeySet(supabase_url)
        self._issuer = issuer or f"{supabase_url}/auth/v1"

    def caller(self, token: str) -> Caller:
        """Who this token is of. Unauthorized, without a word on which check failed beyond what its
        owner needs; SigningKeysUnavailable."""
        claims = self.claims(token)
        metadata = claims.get("app_metadata")
        # Users write `user_metadata` themselves: what it says of a role counts for nothing.
        role = metadata.get("convault_role") if isinstance(metadata, dict) else None
        scopes = ROLES.get(role, frozenset()) if isinstance(role, str) else frozenset()
        return Caller(f"user:{claims['sub']}", scopes)

    def claims(self, token: str) -> dict[str, Any]:
        """The claims of a token that is signed by this project and holds now, for a user."""
        if len(token) > MAX_CHARACTERS:
            raise _refused("it is too long")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise _refused("it is damaged") from None
        algorithm = header.get("alg")
        key = self._key(algorithm, header.get("kid"))
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[str(algorithm)],
                audience=_AUDIENCE,
                leeway=LEEWAY,
                options={"require": ["exp", "sub", "aud"], "verify_iss": False},
            )
        except jwt.ExpiredSignatureError:
            raise _refused("it has expired: sign in again") from None
        except jwt.ImmatureSignatureError:
            raise _refused("it is not valid yet: see whether the clocks agree") from None
        except jwt.PyJWTError:
            raise _refused("it is not of this project, or for something else") from None
        self._check_origin(claims, algorithm)
        return claims

    def _key(self, algorithm: object, kid: object) -> Any:
        if algorithm == "HS256" and self._secret is not None:
            return self._secret
        if algorithm in ("ES256", "RS256") and isinstance(kid, str):
            key = self._keys.key(kid, algorithm)
            if key is not None:
                return key
        raise _refused("it is not signed with a key of this project")

    def _check_origin(self, claims: dict[str, Any], algorithm: object) -> None:
        # Older Auth servers name no issuer. Their secret is one project's alone.
        unnamed = "iss" not in claims and algorithm == "HS256"
        if not unnamed and claims.get("iss") != self._issuer:
            raise _refused("another project issued it")
        # The keys `anon` and `service_role` are tokens too, but nobody's.
        if claims.get("role") != _AUDIENCE or not isinstance(claims["sub"], str):
            raise _refused("it is no user's")


def verifier_of(settings: Settings) -> TokenVerifier | None:
    """The verifier for SUPABASE_URL and SUPABASE_JWT_SECRET; None when neither is set.
    ConfigurationError when they do not go together or cannot be right."""
    secret = settings.supabase_jwt_secret
    text = secret.get_secret_value().strip() if secret else ""
    url = settings.supabase_url
    if not url and not text:
        return None
    if not url:
        raise ConfigurationError(
            "SUPABASE_JWT_SECRET is set, but not SUPABASE_URL, so it is not known which project's "
            "tokens are meant. Set it, such as https://abcdefghijkl.supabase.co."
        )
    if text and len(text.encode()) < _LEAST_SECRET_BYTES:
        raise ConfigurationError(
            "SUPABASE_JWT_SECRET is shorter than 32 bytes, too short to be a project's secret: "
            "copy it whole (in the dashboard: Project Settings > JWT Keys)."
        )
    return TokenVerifier(checked_url(url), text or None, settings.convault_token_issuer)


def _refused(why: str) -> Unauthorized:
    return Unauthorized(f"This token is refused: {why}.")
