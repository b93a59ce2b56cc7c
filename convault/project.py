"""Which Supabase project, and the key that opens it: both from the environment or `.env` alone."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any

from convault.errors import ConfigurationError
from convault.settings import environment
from convault.stores.buckets import is_loopback
from convault.urls import split_url

_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_SECRET = re.compile(r"sb_secret_[\w-]+", re.ASCII)
_WHERE_KEYS_ARE = "(in the dashboard: Project Settings > API Keys)"


@dataclass(frozen=True, slots=True)
class Project:
    """A project and its key; neither `repr` nor an error shows the key."""

    url: str
    """https://host, without a closing slash"""
    headers: dict[str, str] = field(repr=False)
    """what every request carries"""


def project() -> Project:
    """SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY. ConfigurationError when one is not set, or is
    not what it should be; no value is repeated."""
    return Project(checked_url(environment("SUPABASE_URL")), _headers(_service_key()))


def checked_url(url: str | None) -> str:
    """SUPABASE_URL without a closing slash. ConfigurationError when it is not set or is not the
    address of a project."""
    wanted = "SUPABASE_URL is the address of the project, such as https://abcdefghijkl.supabase.co"
    if not url:
        raise ConfigurationError(f"{wanted}; it is not set. Set it in the environment or in .env.")
    parts = split_url(url)
    try:
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
    extra = "@" in parts.netloc or parts.query or parts.fragment or parts.path.strip("/")
    if not plain or extra or not url.isprintable():
        raise ConfigurationError(
            f"{wanted}, without a path, a query, a user or a password. For Postgres itself there "
            "is DATABASE_URL."
        )
    if parts.scheme == "http" and not (
        is_loopback(parts.hostname or "") or environment("CONVAULT_SUPABASE_ALLOW_HTTP") == "true"
    ):
        raise ConfigurationError(
            "SUPABASE_URL is not encrypted: the key and all rows would cross the network for "
            "everyone to read. Use https, or set CONVAULT_SUPABASE_ALLOW_HTTP=true if the way "
            "there is safe."
        )
    return url.rstrip("/")


def _service_key() -> str:
    key = (environment("SUPABASE_SERVICE_ROLE_KEY") or "").strip()
    wanted = (
        "SUPABASE_SERVICE_ROLE_KEY is the project's secret key, sb_secret_..., or its older "
        f"service_role key {_WHERE_KEYS_ARE}"
    )
    if not key:
        raise ConfigurationError(f"{wanted}; it is not set. Set it in the environment or in .env.")
    if _SECRET.fullmatch(key):
        return key
    if key.startswith("sb_publishable_"):
        raise ConfigurationError(
            f"{wanted}, but this is the publishable key: to it private buckets look empty."
        )
    if not _JWT.fullmatch(key):
        raise ConfigurationError(f"{wanted}, but this is neither.")
    role = (claims_of(key) or {}).get("role")
    if role != "service_role":
        named = "the anon key" if role == "anon" else "a token with another role"
        raise ConfigurationError(
            f"{wanted}, but this is {named}: to it private buckets look empty."
        )
    return key


def claims_of(key: str) -> dict[str, Any] | None:
    """What a key that is a JWT claims; None for another kind. Only the server can tell whether it
    is signed rightly; this is to find the wrong key before an empty listing is taken for an empty
    store."""
    if not _JWT.fullmatch(key):
        return None
    payload = key.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _headers(key: str) -> dict[str, str]:
    """New keys are no tokens: the gateway takes them as `apikey`, and only there."""
    if _SECRET.fullmatch(key):
        return {"apikey": key}
    return {"apikey": key, "Authorization": f"Bearer {key}"}
