"""The FastAPI application.

Served by any ASGI server:

    uvicorn api.app:create_app --factory --host 127.0.0.1 --port 8000

or by `convault up`, or by `python -m api.serving`, which makes a key up on loopback.

It needs a key (CONVAULT_API_KEY, CONVAULT_API_KEYS) or SUPABASE_URL, whose users' tokens it takes;
the catalog's database (DATABASE_URL or CONVAULT_CATALOG_URL); and PREFECT_API_URL, where the runs
go. It speaks plain HTTP: put a proxy with TLS before it.
"""

from __future__ import annotations

from fastapi import Depends, FastAPI

from api import problems
from api.access_log import hide_queries
from api.auth import Guard, caller
from api.facts import Facts
from api.hardening import LOOPBACK, Hardening
from api.links import links_of
from api.methods import FixedPaths
from api.routes import (
    backups,
    deletion,
    downloads,
    facts,
    health,
    initialising,
    listing,
    metrics,
    retention,
    runs,
    scheduler,
)
from api.settling import settling
from api.shared import Shared
from convault import __version__
from convault.catalog import open_catalog
from convault.settings import Settings, load_settings

KEPT_SESSIONS = 4
"""of the catalog's database, between requests"""
_CLOSED = (
    # Fixed paths before `/{id}`.
    initialising.router,
    facts.router,
    retention.router,
    metrics.router,
    scheduler.router,
    listing.router,
    backups.router,
    runs.router,
    deletion.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; `settings` come from the environment when they are not given.

    ConfigurationError when there is no key or no catalog: it never serves without.
    """
    settings = settings or load_settings()
    app = FastAPI(
        title="Convault",
        version=__version__,
        description="Backups of conversations. Errors are problem details (RFC 9457).",
        redirect_slashes=False,
        lifespan=settling,
        openapi_url="/openapi.json" if settings.convault_api_docs else None,
    )
    problems.install(app)
    named = [name.strip() for name in settings.convault_api_hosts.split(",") if name.strip()]
    app.add_middleware(Hardening, hosts=(*LOOPBACK, *named))
    app.state.guard = Guard(settings)
    closed = [Depends(caller)]  # each route says what scope it needs beyond that
    app.state.catalog = open_catalog(settings.catalog_url(), kept=KEPT_SESSIONS)
    app.state.settings = settings
    app.state.listed = Shared()
    app.state.facts = Facts(settings, app.state.catalog)
    app.state.links = links_of(settings)
    app.state.repository = None
    hide_queries()
    app.include_router(health.router)
    app.include_router(downloads.router)  # by a link, or a key
    for router in _CLOSED:
        app.include_router(router, dependencies=closed)
    app.router.routes.insert(0, FixedPaths(route for router in _CLOSED for route in router.routes))
    return app
