"""The public keys with which a project's Auth server signs (JWKS), fetched from it alone.

Where they lie follows from SUPABASE_URL: nothing that a token says (`jku`, `x5u`, `jwk`, `iss`)
leads to a key.
"""

from __future__ import annotations

import json
import logging
from threading import Lock
from time import monotonic

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from api.problems import SigningKeysUnavailable

PATH = "/auth/v1/.well-known/jwks.json"
MAX_AGE = 600.0
"""seconds after which keys are fetched again; as long as Supabase's own edge keeps them"""
AGAIN = 60.0
"""seconds between two fetches at least, whatever keys are asked for"""
KEPT = 3600.0
"""seconds that keys count while they cannot be fetched anew; one of them may be revoked by then"""
TIMEOUT = 5.0
"""seconds"""
_MAX_BYTES = 256 * 1024
_LEAST_RSA_BITS = 2048

_log = logging.getLogger("convault.api")

PublicKey = EllipticCurvePublicKey | RSAPublicKey


class KeySet:
    """The keys of one project; any thread may ask."""

    def __init__(self, supabase_url: str) -> None:
        """Nothing is fetched yet."""
        self._url = f"{supabase_url}{PATH}"
        self._lock = Lock()
        self._keys: dict[tuple[str, str], PublicKey] = {}
        self._fetched: float | None = None
        self._asked: float | None = None

    def key(self, kid: str, algorithm: str) -> PublicKey | None:
        """The key of that id for ES256 or RS256, None when the project has none. An id that is not
        known has the keys fetched anew, but not more often than once a minute.
        SigningKeysUnavailable when they could not be fetched, or not for an hour."""
        with self._lock:
            now = monotonic()
            old = self._fetched is None or now - self._fetched > MAX_AGE
            unknown = (kid, algorithm) not in self._keys
            if (old or unknown) and (self._asked is None or now - self._asked >= AGAIN):
                self._asked = now
                self._fetch(now)
            if self._fetched is None or now - self._fetched > KEPT:
                raise SigningKeysUnavailable(
                    "The project's Auth server does not give its public keys, so no token can be "
                    "checked. Try again in a minute, or use an API key."
                )
            return self._keys.get((kid, algorithm))

    def _fetch(self, now: float) -> None:
        """Keys that are known stay when this fails: the Auth server may be away for a while."""
        try:
            with (
                httpx.Client(timeout=TIMEOUT, follow_redirects=False) as client,
                client.stream("GET", self._url) as answer,
            ):
                body = b""
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _MAX_BYTES or monotonic() - now > TIMEOUT:
                        raise ValueError("more than keys")
                if answer.status_code != 200:
                    raise ValueError(f"status {answer.status_code}")
            self._keys = _usable(json.loads(body))
            self._fetched = now
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            _log.warning("the keys of the Auth server were not fetched: %s", type(error).__name__)


def _usable(document: object) -> dict[tuple[str, str], PublicKey]:
    """Public keys for signatures; whatever else is in the set (secrets, other curves) is left."""
    keys: dict[tuple[str, str], PublicKey] = {}
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list):
        raise ValueError("no set of keys")
    for member in members:
        if not isinstance(member, dict) or member.get("use", "sig") != "sig":
            continue
        kid, kind = member.get("kid"), member.get("kty")
        algorithm = {"EC": "ES256", "RSA": "RS256"}.get(kind) if isinstance(kind, str) else None
        if not isinstance(kid, str) or not algorithm or member.get("alg", algorithm) != algorithm:
            continue
        try:
            key = jwt.PyJWK(member, algorithm).key
        except jwt.PyJWTError:
            continue
        if (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)) or (
            isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS
        ):
            keys[kid, algorithm] = key
    return keys
