"""One installation writes to a repository; others may read it, until one of them adopts it.

The marker in the store names who may write. A catalog that finds a repository which it has not made
is a stranger to it: the locks that keep backups and sweeps apart live in a catalog, and two of them
do not know of each other.
"""

from __future__ import annotations

from uuid import UUID, uuid5

from convault.catalog.base import Catalog
from convault.errors import CatalogError, NotAdopted
from convault.repository import Repository

FOREIGN = (
    "Another installation made this repository. It can be read and restored from; to back up into "
    "it, or to remove anything, be sure that the other one does not any more, and run `convault "
    "adopt`."
)

A_COPY = (
    "This is a copy of a repository. It can be read and restored from; if the first one is lost "
    "and this one shall take its place, run `convault adopt`."
)


def require_ours(repository: Repository, catalog: Catalog) -> None:
    """NotAdopted unless this installation is the one that writes here. CatalogUnavailable."""
    if repository.is_copy:
        raise NotAdopted(f"{repository.store.url}: {A_COPY}", store=repository.store.url)
    if catalog.installation_id() != repository.installation_id:
        raise NotAdopted(f"{repository.store.url}: {FOREIGN}", store=repository.store.url)


def adopt(repository: Repository, catalog: Catalog) -> bool:
    """Become the one that writes here; whether it was another one. May be repeated. The other one
    is refused from then on, also in the middle of a backup. StoreError, CatalogError."""
    ours = catalog.installation_id()
    if ours is None:
        raise CatalogError("The catalog knows no repository yet: run `convault init`.")
    if ours == repository.installation_id and not repository.is_copy:
        return False
    repository.adopt(ours)
    return True


def writer_of_copies(installation_id: UUID) -> UUID:
    """Who an installation is to the copies that it makes. Another id than its own, so that what
    knows nothing of copies takes them for somebody else's, and writes no backup there."""
    return uuid5(installation_id, "copies")
