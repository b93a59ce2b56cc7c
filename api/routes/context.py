"""What the routes of backups share: their prefix, and what the application holds for them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import Request

from api.caller import Caller
from api.links import Links
from api.problems import (
    Forbidden,
    InvalidRequest,
    TooManyAttempts,
    Unauthorized,
    documented,
)
from convault.catalog.base import Catalog
from convault.errors import (
    CatalogUnavailable,
    ConfigurationError,
    StoreError,
    StoreUnavailable,
)
from convault.installation import open_installation
from convault.repository import Repository
from convault.retention.audited import Actor
from convault.settings import Settings

PREFIX = "/api/communication/backups"

CLOSED: dict[int | str, dict[str, Any]] = {
    **documented(Unauthorized, "This needs the API key: send `Authorization: Bearer <key>`."),
    **documented(Forbidden, "This needs the scope operate. Use a key that has it."),
    **documented(InvalidRequest, "backup_id: Input should be a valid UUID."),
    **documented(TooManyAttempts, "Too many wrong keys or tokens came from your address."),
    **documented(CatalogUnavailable, "The catalog cannot be reached: try again in a moment."),
}
"""what every closed route may answer"""
STORED: dict[int | str, dict[str, Any]] = {
    **documented(ConfigurationError, "The folder of CONVAULT_STORE_URL does not exist."),
    **documented(StoreError, "The store gave an answer that cannot be understood."),
    **documented(StoreUnavailable, "The store cannot be reached: try again in a moment."),
}
"""what a route may answer, beside that, that opens the repository"""

# Those that wait for nothing are `async`: FastAPI would send each of the others to a thread.


async def catalog_of(request: Request) -> Catalog:
    """The application's catalog."""
    catalog: Catalog = request.app.state.catalog
    return catalog


async def settings_of(request: Request) -> Settings:
    """The application's settings."""
    settings: Settings = request.app.state.settings
    return settings


async def links_of(request: Request) -> Links:
    """What makes and proves download links."""
    links: Links = request.app.state.links
    return links


def repository_of(request: Request) -> Repository:
    """The repository that the catalog knows, opened when it is first asked for: the API also serves
    while the store is away. The errors of `open_installation`."""
    repository: Repository | None = request.app.state.repository
    if repository is None:
        repository = open_installation(request.app.state.settings).repository
        request.app.state.repository = repository
    return repository


async def actor_of(request: Request) -> Actor:
    """The caller of a closed route, and from where, for the audit. Behind a proxy on another
    machine uvicorn must be told of it (--forwarded-allow-ips), or everybody comes from there."""
    who: Caller = request.state.caller
    address = request.client.host if request.client else ""
    return Actor(who.name, f"api {address}".rstrip())


def path_of(backup_id: UUID) -> str:
    """Where a backup is found."""
    return f"{PREFIX}/{backup_id}"
