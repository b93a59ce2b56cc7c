"""Download links: who has one may fetch one backup, for a while, and nothing else.

A link is the path of the download and a token, which names the backup, whose key asked for it and
until when it holds, signed with HMAC-SHA256. It is made anew for every request, stored nowhere, and
opens nothing once its key is taken out of the settings.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from itsdangerous import BadData, URLSafeSerializer

from api.caller import Caller, Scope
from api.keys import ApiKey, keys_of
from convault.settings import Settings

DEFAULT_SECONDS = 15 * 60
MAX_SECONDS = 24 * 3600
_PURPOSE = b"convault download link"
_log = logging.getLogger("convault.api")


@dataclass(frozen=True, slots=True)
class Link:
    """What a caller is given."""

    token: str
    expires_at: datetime


class Links:
    """Makes tokens, and tells what is one."""

    def __init__(self, secrets_: Sequence[bytes], keys: Iterable[ApiKey] = ()) -> None:
        """The first secret signs, each of them proves. `keys`: those whose links hold."""
        self._serializer = URLSafeSerializer(
            list(reversed(secrets_)),
            salt=_PURPOSE,
            signer_kwargs={"key_derivation": "hmac", "digest_method": sha256},
        )
        self._digests = {
            key.caller.name: key.digest.hex()[:32] for key in keys if key.caller.may(Scope.DOWNLOAD)
        }

    def mint(self, backup_id: UUID, caller: Caller, seconds: int, *, now: datetime) -> Link:
        """A token for this backup, that holds for so many seconds (at most a day)."""
        if not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"a link holds for 1 to {MAX_SECONDS} seconds, not {seconds}")
        expires_at = (now + timedelta(seconds=seconds)).replace(microsecond=0)
        token = self._serializer.dumps(
            {
                "backup": str(backup_id),
                "key": caller.name,
                "of": self._digests.get(caller.name, ""),
                "until": int(expires_at.timestamp()),
            }
        )
        assert isinstance(token, str)
        return Link(token, expires_at)

    def holder(self, token: str, backup_id: UUID, *, now: datetime) -> str | None:
        """The name of the key or user that the token was made for; None when it is no token, is of
        another backup, is over, or its key does not count any more,
        or may not download any more."""
        try:
            said: Any = self._serializer.loads(token)
        except BadData:
            return None
        if said["backup"] != str(backup_id) or said["until"] <= now.timestamp():
            return None
        name: str = said["key"]
        if not name.startswith("user:") and self._digests.get(name) != said["of"]:
            return None
        return name


def links_of(settings: Settings) -> Links:
    """Links signed with a secret that comes from CONVAULT_SIGNING_KEY. Without one a secret is made
    for this process: its links end with it, and no other process knows them."""
    derived = settings.signing.derived(_PURPOSE)
    if not derived:
        _log.warning(
            "CONVAULT_SIGNING_KEY is not set: download links hold until this process ends, and "
            "only in it. `convault init` makes a key."
        )
    return Links(derived or (secrets.token_bytes(32),), keys_of(settings))


def now() -> datetime:
    """This host's clock, in UTC."""
    return datetime.now(UTC)
