"""What every answer gets, and every request must have, whatever its route."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import answer

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""what an answer of data may load, were it ever shown as a page"""
_PAGE = "frame-ancestors 'none'"
"""FastAPI's page of documentation loads scripts from elsewhere"""
_PAGES = ("/docs", "/redoc")
_WRONG_HOST = (
    "wrong-host",
    "The request is for another host",
    "This server does not go by that name. Name it in CONVAULT_API_HOSTS, if it should: names with "
    "commas between, such as backups.school.example.",
)
_OTHER_SITE = (
    "cross-origin",
    "The request comes from a page of another site",
    "Pages of other sites may not ask this server. Let the page's own server ask it, or name the "
    "page's host in CONVAULT_API_HOSTS.",
)


class Hardening:
    """ASGI middleware: security headers on every answer, and only requests to a host of ours, so
    that no web page can reach a server on loopback under a name of its own (DNS rebinding), and
    none that the page of another site made."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """`hosts`: names that a request may be for, without ports; `*` allows any."""
        self.app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        policy = _PAGE if scope["path"].startswith(_PAGES) else _NOTHING

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", policy)
            await send(message)

        given = Headers(scope=scope)
        origin = given.get("origin")
        if not self._is_ours(given.get("host", "")):
            refused = answer(Request(scope), 421, *_WRONG_HOST)
        elif origin is not None and not self._is_ours(origin.partition("://")[2]):
            refused = answer(Request(scope), 403, *_OTHER_SITE)
        else:
            await self.app(scope, receive, sending)
            return
        await refused(scope, receive, sending)

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        if not name.endswith("]"):  # [::1] has colons, and no port
            before, colon, port = name.rpartition(":")
            name = before if colon and port.isdecimal() else name
        return "*" in self._hosts or name in self._hosts
