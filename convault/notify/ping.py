"""The dead man's switch outside (CONVAULT_PING_URL): healthchecks.io, or what does as it does.

A service that hears nothing tells somebody: of a machine that burnt down nobody else can.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from convault.notify.apart import Refused, each
from convault.settings import Settings

SECONDS = 10.0
Signal = Literal["start", "success", "fail"]
_PATHS: dict[Signal, str] = {"start": "/start", "success": "", "fail": "/fail"}


@dataclass(frozen=True, slots=True)
class Ping:
    """Signals of one run. `url` is a secret: who knows it can keep the switch quiet."""

    url: str | None
    run: UUID

    @classmethod
    def of(cls, settings: Settings, run: UUID) -> Ping:
        """Of the settings; without CONVAULT_PING_URL nothing is sent."""
        secret = settings.convault_ping_url
        return cls(None if secret is None else secret.get_secret_value(), run)

    def __repr__(self) -> str:
        return f"Ping(run={self.run})"

    def send(self, signal: Signal, code: str = "") -> str:
        """Send it, with `code` (of an error) as its text, in 10 s at most; why it failed, or ''.
        Raises nothing."""
        if self.url is None:
            return ""
        address, body = address_of(self.url, signal, self.run), code.encode()

        def post() -> None:
            # Not httpx, which logs the address of every request.
            request = urllib.request.Request(address, data=body, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=SECONDS / 2) as answer:
                    answer.read(1024)
            except urllib.error.HTTPError as error:
                error.close()
                raise Refused(f"HTTP {error.code}") from None

        return each([post], SECONDS)[0]


def address_of(url: str, signal: Signal, run: UUID) -> str:
    """Where a signal goes: behind the path comes what it is, and `rid` tells runs apart."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + _PATHS[signal]
    query = "&".join(filter(None, (parts.query, urlencode({"rid": str(run)}))))
    return parts._replace(path=path, query=query).geturl()
