"""Whether the catalog and the store are set up and belong together, and the store can be used."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from convault.catalog import Catalog
from convault.doctor.finding import Finding, of_error, ok, red
from convault.errors import ConvaultError, ObjectMissing
from convault.repository import Repository
from convault.stores.base import Store

PROBES = "doctor/"
"""folder of what is written for a trial; `convault verify` would call what is left in it unknown"""


def examine_catalog(catalog: Catalog) -> Finding:
    """Its migrations. CatalogError, CatalogUnavailable."""
    missing = catalog.missing_migrations()
    if missing:
        return red(
            "catalog",
            f"its tables are missing or older than this version: {', '.join(missing)} not applied",
            "Run `convault init`.",
        )
    return ok("catalog", "its tables are those of this version")


def examine_repository(catalog: Catalog | None, store: Store) -> Iterator[Finding]:
    """Whether the store is the repository that the catalog remembers. `catalog` is None where it
    cannot tell. RepositoryError and the errors of both."""
    expected = None if catalog is None else catalog.repository_id()
    repository = Repository.open(store, expected)
    repository.require_current()
    name = "repository"
    if catalog is not None and expected is None:
        yield red(
            name, "the catalog knows no repository yet", "Run `convault init`, which registers it."
        )
        return
    told = f"{repository.repository_id} in {store.url}"
    if catalog is None:
        told += "; whether it is ours is not known, because the catalog could not be asked"
    yield ok(name, told)


def probe(store: Store) -> Finding:
    """Write a small object, read it, and delete it, whatever came of it."""
    name, key, data = "store", f"{PROBES}{secrets.token_hex(16)}", secrets.token_bytes(1024)
    remedy = "See what its credentials allow: reading, writing, deleting and listing."
    try:
        try:
            store.put(key, data)
            store.flush()
            if store.get(key) != data:
                return red(name, f"{store.url} gave other bytes than were written", remedy)
            if key not in {info.key for info in store.list(PROBES)}:
                return red(name, f"{store.url} does not list what was written", remedy)
        finally:
            store.delete(key)
        try:
            store.head(key)
        except ObjectMissing:
            return ok(name, f"an object was written to {store.url}, read, listed and deleted")
        return red(name, f"{store.url} still holds {key}, which was deleted", remedy)
    except ConvaultError as error:
        return of_error(name, error)
