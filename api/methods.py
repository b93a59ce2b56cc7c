"""A method that a fixed path does not have is 405, although `/{backup_id}` has it: `DELETE
.../cleanup` asks for no backup of that name."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send


class FixedPaths(BaseRoute):
    """Goes before all other routes, and takes what none of those with that very path would."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [
            route for route in routes if isinstance(route, APIRoute) and "{" not in route.path
        ]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path is a fixed one and has no such method."""
        found = {route.matches(scope)[0] for route in self._routes}
        if Match.PARTIAL in found and Match.FULL not in found:
            return Match.FULL, {}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """405, and what the path does have."""
        allowed: set[str] = set()
        for route in self._routes:
            if route.matches(scope)[0] is Match.PARTIAL:
                allowed |= route.methods or set()
        raise HTTPException(405, headers={"Allow": ", ".join(sorted(allowed))})

    def url_path_for(self, name: str, /, **path_params: object) -> NoMatchFound:  # type: ignore[override]
        """It has no URL."""
        raise NoMatchFound(name, dict(path_params))
