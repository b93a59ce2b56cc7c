"""Where backups are kept: that it is ours, works, has room, and is not all there is."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl
from uuid import UUID

from convault.catalog import Catalog
from convault.catalog.base import BackupRecord
from convault.copies import lags
from convault.doctor import api, clocks, copies, elsewhere, repository, space
from convault.doctor.elsewhere import Copy, Home
from convault.doctor.finding import Finding, not_checked, reported
from convault.doctor.lately import last_good
from convault.errors import ConvaultError
from convault.repository import Repository
from convault.settings import Settings, environment, named_stores
from convault.stores import open_store
from convault.stores.base import Store
from convault.stores.services import S3
from convault.urls import split_url


def examine(
    settings: Settings,
    catalog: Catalog | None,
    database_bytes: int | None,
    probe: Callable[[Store], Finding] | None = None,
) -> list[Finding]:
    """Look at CONVAULT_STORE_URL. `catalog` is None where it cannot be asked; `probe` writes a
    small object and deletes it again."""
    findings: list[Finding] = []
    with reported("repository", findings):
        url = settings.store_url()
        store = open_store(url)
        newest = None if catalog is None else last_good(catalog)
        findings += repository.examine_repository(catalog, store)
        if probe is not None:
            findings.append(probe(store))
        else:
            findings.append(not_checked("store", "nothing is written to it without --probe"))
        needed = newest.stored_bytes if newest else None
        findings += space.examine(store, settings.store_quota, needed or database_bytes)
        if url.startswith("supabase:") and settings.store_quota is None:
            findings.append(api.NO_QUOTA)
        endpoint = _endpoint(url)
        if endpoint:
            findings.append(clocks.judge("clock of the store", "the store", clocks.ask(endpoint)))
    return findings


def examine_copies(settings: Settings, catalog: Catalog | None) -> list[Finding]:
    """Whether a copy of the backups lies apart from what they are of, and what each lacks."""
    findings: list[Finding] = []
    with reported(elsewhere.NAME, findings):
        newest = None if catalog is None else last_good(catalog)
        findings.append(_elsewhere(settings, newest))
    with reported(copies.NAME, findings):
        findings.append(_copies(settings, catalog))
    return findings


def _copies(settings: Settings, catalog: Catalog | None) -> Finding:
    """By what the catalog knows: a copy that cannot be reached is behind all the same."""
    names = settings.store_names
    repository_id = None if catalog is None or not names else catalog.repository_id()
    if catalog is None or repository_id is None:
        return not_checked(copies.NAME, "there is none, or the catalog cannot be asked")
    known = catalog.copies(repository_id)
    return copies.judge(
        lags(names, known, catalog.list(), catalog.now(), repository_id, late=settings.copy_late)
    )


def _elsewhere(settings: Settings, newest: BackupRecord | None) -> Finding:
    url = settings.convault_store_url
    if not url or (settings.database_url is None and not settings.supabase_url):
        return not_checked(elsewhere.NAME, "it is not set what is backed up, or where to")
    sources = [
        elsewhere.home_of_project(settings.supabase_url)
        if settings.by_rest or settings.database_url is None
        else elsewhere.home_of_database(settings.source_url())
    ]
    store = _home(url, settings)
    copies = [] if store is None else [
        Copy(
            name,
            apart=(home := _home(copy, settings)) is None
            or not any(source.is_of(home) for source in sources),
            complete=newest is not None and _holds(copy, newest.id),
        )
        for name, copy in named_stores().items()
    ]  # fmt: skip
    return elsewhere.judge(sources, store, copies)


def _home(url: str, settings: Settings) -> Home | None:
    return elsewhere.home_of_store(url, settings.supabase_url, _endpoint(url))


def _holds(url: str, backup_id: UUID) -> bool:
    """Whether the copy at `url` can be opened and has the backup's manifest."""
    try:
        Repository.open(open_store(url)).manifest(backup_id)
    except ConvaultError:
        return False
    return True


def _endpoint(url: str) -> str | None:
    """Where requests of an S3 store go; '' for Amazon's own place."""
    parts = split_url(url)
    if parts.scheme != S3.scheme:
        return None
    given = dict(parse_qsl(parts.query)).get("endpoint")
    named = (environment(variable) for variable in S3.endpoint_variables)
    return given or next(filter(None, named), None) or "https://s3.amazonaws.com"
