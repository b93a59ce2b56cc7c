"""All checks, in the order in which one would look; each says itself why it could not be made."""

from __future__ import annotations

from convault import settings as settings_module
from convault.catalog import Catalog, open_catalog
from convault.doctor import (
    address,
    keys,
    pooling,
    project,
    repository,
    runs,
    source,
    store,
    telling,
)
from convault.doctor.finding import Finding, State, not_checked, of_error, ok, reported
from convault.errors import ConfigurationError
from convault.settings import Settings, load_settings


def examine(prefect: runs.Server | None = None, *, probe: bool = False) -> list[Finding]:
    """Look at everything that the environment and `.env` name. Nothing is written, unless with
    `probe`: then a small object, which is deleted again. `prefect` is the server that Prefect's own
    settings name, None where they name none."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        return [of_error("settings", error), not_checked("the rest", "the settings are not usable")]
    findings = [_settings()]
    seen, server = source.examine(settings)
    findings += seen
    catalog = _catalog(settings, findings)
    of_project = project.examine(settings)
    findings += of_project
    size = None if server is None else server.database_bytes
    if _usable(settings, of_project):
        findings += store.examine(settings, catalog, size, repository.probe if probe else None)
        findings += store.examine_copies(settings, catalog)
    else:
        findings.append(not_checked("repository", "the project or its bucket cannot be used"))
    findings += keys.examine(settings, catalog)
    findings += telling.examine(settings, catalog)
    findings.append(runs.judge(prefect, None if prefect is None else runs.ask(prefect)))
    return findings


def _settings() -> Finding:
    """That they could be read says that `.env` is its owner's alone."""
    file = settings_module.ENV_FILE
    if file.is_file():
        return ok("settings", f"{file} can be read by its owner alone")
    return ok("settings", f"from the environment; there is no {file} here")


def _catalog(settings: Settings, findings: list[Finding]) -> Catalog | None:
    """The catalog, where it can be asked."""
    with reported("catalog", findings):
        url = settings.catalog_url()
        # One that is no database's is asked over HTTP, by the catalog itself.
        if settings.convault_catalog_url is not None and "://" in url:
            found = list(address.examine("catalog address", url))
            findings += found
            if found[0].state is State.RED:
                findings.append(not_checked("catalog", "it cannot be reached"))
                return None
            findings.append(pooling.judge("catalog session", pooling.watch(url)))
        catalog = open_catalog(url)
        findings.append(repository.examine_catalog(catalog))
        if findings[-1].state is State.OK:
            return catalog
    return None


def _usable(settings: Settings, of_project: list[Finding]) -> bool:
    """Whether to open the store at all: each try of a paused project takes a minute."""
    red = any(finding.state is State.RED for finding in of_project)
    return not (red and (settings.convault_store_url or "").startswith("supabase:"))
