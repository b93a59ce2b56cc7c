"""API keys: CONVAULT_API_KEY, which may do everything, and CONVAULT_API_KEYS, hashed and scoped.

An entry of CONVAULT_API_KEYS is `name:scope+scope:sha256`, entries are separated by spaces or line
breaks; the last is the SHA-256 of the key in hexadecimal digits. A key is 32 random bytes, so a
fast hash is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from api.caller import EVERYTHING, Caller, Scope
from convault.errors import ConfigurationError
from convault.settings import Settings

_ENTRY = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,64}):(?P<scopes>[a-z+]+):(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the server knows it: by its digest alone."""

    caller: Caller
    digest: bytes


def keys_of(settings: Settings) -> tuple[ApiKey, ...]:
    """All keys that the settings name. ConfigurationError says which entry is wrong."""
    found: list[ApiKey] = []
    whole = settings.convault_api_key
    if whole is not None and whole.get_secret_value().strip():
        key = whole.get_secret_value().strip()
        found.append(ApiKey(Caller("CONVAULT_API_KEY", EVERYTHING), digest_of(key.encode())))
    entries = settings.convault_api_keys
    if entries is not None:
        found += [
            _parsed(number, entry)
            for number, entry in enumerate(entries.get_secret_value().split(), 1)
        ]
    names = [key.caller.name for key in found]
    if len(set(names)) < len(names):
        raise ConfigurationError("CONVAULT_API_KEYS has two keys of one name: rename one of them.")
    return tuple(found)


def new_key(name: str, scopes: Iterable[Scope]) -> tuple[str, str]:
    """A new key, and its entry for CONVAULT_API_KEYS."""
    key = f"cvk_{secrets.token_urlsafe(32)}"
    return key, f"{name}:{'+'.join(scopes)}:{digest_of(key.encode()).hex()}"


def caller_with(given: bytes, keys: Iterable[ApiKey]) -> Caller | None:
    """Whose key this is. Digests are compared, each in constant time, and all of them, so that the
    time tells neither a key's length nor how much of it was guessed."""
    digest = digest_of(given)
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key.caller
    return found


def digest_of(key: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(key).digest()


def _parsed(number: int, entry: str) -> ApiKey:
    match = _ENTRY.fullmatch(entry)
    named = match["scopes"].split("+") if match else []
    if match is None or not set(named) <= set(Scope):
        raise ConfigurationError(
            f"Entry {number} of CONVAULT_API_KEYS is not name:scope+scope:sha256, where the scopes "
            f"are of {', '.join(Scope)} and sha256 is the key's digest in 64 hexadecimal digits."
        )
    caller = Caller(match["name"], frozenset(Scope(scope) for scope in named))
    return ApiKey(caller, bytes.fromhex(match["digest"]))
