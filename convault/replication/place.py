"""The place of a copy: that it is one, of this repository, and this installation's to write to."""

from __future__ import annotations

from uuid import UUID, uuid5

from convault import layout
from convault.adoption import writer_of_copies
from convault.catalog.base import Catalog
from convault.errors import CatalogError, CopyError, NotAdopted, ObjectMissing
from convault.repository import Repository
from convault.stores import open_store
from convault.stores.base import Store
from convault.stores.opening import folder_of


def open_copy(
    first: Repository, catalog: Catalog, name: str, url: str, *, known: bool
) -> Repository:
    """The copy of `first` in the store at `url`, made there when the place is empty. `known`: there
    has been a copy of that name, so that an empty place is a disk that is not mounted.

    CopyError when the place holds something else, NotAdopted when another installation writes to
    it; RepositoryError, ConfigurationError, StoreError, CatalogError.
    """
    if first.is_copy:
        raise CopyError(
            f"{first.store.url} is a copy itself. Copies are made of the first repository: set "
            "CONVAULT_STORE_URL to it; or, if it is lost, run `convault adopt` first, which puts "
            "this one in its place.",
            store=first.store.url,
        )
    store = open_store(url, create=not known)
    if not _is_repository(store):
        return _made(first, store, catalog, name, known=known)
    copy = Repository.open(store)
    _require_copy_of(first, copy, name)
    if copy.installation_id != _writer(catalog):
        raise NotAdopted(
            f"Another installation writes the copy in {store.url}. It can be read; to write to it, "
            "be sure that the other one does not any more, and run `convault adopt --copy "
            f"{name}`.",
            store=store.url,
        )
    return copy


def adopt_copy(first: Repository, catalog: Catalog, name: str, url: str) -> bool:
    """Be the one that writes the copy at `url`; whether it was another one. What was the first
    repository once becomes a copy by it. CopyError, RepositoryError, StoreError, CatalogError."""
    copy = Repository.open(open_store(url))
    if copy.repository_id != first.repository_id:
        _require_copy_of(first, copy, name)
    if _is_same_place(first, copy):
        raise CopyError(
            f"The store {name} is the place of the first repository itself: it cannot be its own "
            "copy.",
            store=url,
        )
    writer = _writer(catalog)
    if copy.is_copy and copy.installation_id == writer:
        return False
    copy.adopt(writer, is_copy=True)
    return True


def lock_of(copy: Repository) -> UUID:
    """By which `Catalog.guard` keeps those who write a copy apart from those who remove: of the
    place, which may have two names, or two URLs. A copy that an older version made has its URL
    alone."""
    return copy.copy_id or uuid5(copy.repository_id, copy.store.url)


def _writer(catalog: Catalog) -> UUID:
    ours = catalog.installation_id()
    if ours is None:
        raise CatalogError("The catalog knows no repository yet: run `convault init`.")
    return writer_of_copies(ours)


def _made(
    first: Repository, store: Store, catalog: Catalog, name: str, *, known: bool
) -> Repository:
    if known:
        raise CopyError(
            f"{store.url} held a copy of the repository, and holds none now. If it lies on a disk "
            "that should be mounted, mount it. To start over with an empty one, run `convault copy "
            f"--to {name} --new`.",
            store=store.url,
        )
    if next(iter(store.list(layout.BACKUPS)), None) is not None:
        raise CopyError(
            f"{store.url} holds backups, but its {layout.REPOSITORY_KEY} is gone. Put back a copy "
            "of that file, or choose an empty place.",
            store=store.url,
        )
    _require_beside(first.store.url, store.url)
    return first.create_copy(store, _writer(catalog))


def _require_beside(first: str, copy: str) -> None:
    """A folder in the other's is lost with it, and each of the two would list what is not its."""
    places = [folder_of(url).resolve() for url in (first, copy) if url.startswith("file://")]
    if len(places) == 2 and (
        places[0].is_relative_to(places[1]) or places[1].is_relative_to(places[0])
    ):
        raise CopyError(
            f"{copy} and the first repository, {first}, lie one in the other: choose a place "
            "beside it, best on another machine.",
            store=copy,
        )


def _require_copy_of(first: Repository, copy: Repository, name: str) -> None:
    if copy.repository_id != first.repository_id:
        raise CopyError(
            f"{copy.store.url} holds the repository {copy.repository_id}, and this installation's "
            f"is {first.repository_id}: choose another place for the copy {name}.",
            store=copy.store.url,
        )
    if not copy.is_copy:
        raise CopyError(
            f"{copy.store.url} is no copy: backups are, or were, made there. If it is where "
            "backups are made now, choose another place. If it was once, and is to be a copy from "
            f"now on, run `convault adopt --copy {name}`.",
            store=copy.store.url,
        )


def _is_same_place(first: Repository, copy: Repository) -> bool:
    """Whether what is written in the one shows in the other, whatever their URLs are."""
    key = f"{layout.SWEEP}clock-{uuid5(first.repository_id, copy.store.url).hex[:16]}"
    try:
        copy.store.put(key, b"Is this the same place?\n")
        first.store.head(key)
    except ObjectMissing:
        return False
    finally:
        copy.store.delete(key)
    return True


def _is_repository(store: Store) -> bool:
    try:
        store.head(layout.REPOSITORY_KEY)
    except ObjectMissing:
        return False
    return True
