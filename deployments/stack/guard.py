"""What the Prefect server is asked, and by whom: nothing from another site, and a sign-in link.

The server asks for its password itself. But it answers to any name, so that a web page could reach
it on loopback under a name of its own (DNS rebinding), and it lets pages of other sites ask.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

SIGN_IN = "/convault/sign-in"
_SCRIPT = 'localStorage.setItem("prefect-password", location.hash.slice(1));location.replace("/");'
"""where Prefect's page keeps what it signs in with; a fragment is never sent to a server"""
_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_PAGE = HTMLResponse(
    f'<!doctype html><meta charset="utf-8"><title>Convault</title><script>{_SCRIPT}</script>',
    headers={
        "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{_DIGEST}'; "
        "frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    },
)


def sign_in_link(address: str, credentials: str) -> str:
    """Where a browser is signed in to the Prefect server at `address` with `user:password`."""
    return f"{address}{SIGN_IN}#{base64.b64encode(credentials.encode()).decode()}"


class SameSiteOnly:
    """ASGI middleware: answers only requests for one of `hosts` (`name:port`) that no page of
    another site made."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        refused = self._refused(scope)
        if refused is None and scope["path"] == SIGN_IN:
            refused = _PAGE
        if refused is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await refused(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if headers.get("host", "").lower() not in self._hosts:
            return PlainTextResponse("This server does not go by that name.", 421)
        origin = headers.get("origin")
        foreign = origin is not None and origin.lower().removeprefix("http://") not in self._hosts
        # A link to a page may be followed from anywhere: it was printed in some terminal.
        followed = headers.get("sec-fetch-mode") == "navigate" and not _is_api(scope["path"])
        elsewhere = headers.get("sec-fetch-site") in {"cross-site", "same-site"} and not followed
        if foreign or elsewhere:
            return PlainTextResponse("Pages of other sites may not ask this server.", 403)
        return None


def _is_api(path: str) -> bool:
    return path == "/api" or path.startswith("/api/")
