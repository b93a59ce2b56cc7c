"""An installation: one catalog, one repository, one source, and that they belong together.

Everything but `init` opens it and is refused when something is missing or not what the catalog
remembers. Only `init` makes a repository, so that a store whose disk is not mounted never gets a
new, empty one in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

from convault import layout, memory
from convault.adoption import A_COPY, FOREIGN
from convault.catalog import Catalog, open_catalog
from convault.dataset.scope import scope_of
from convault.encryption.objects import Encryptor
from convault.encryption.recipients import encryptor_of
from convault.errors import (
    BusyError,
    CatalogError,
    ConfigurationError,
    ObjectMissing,
    RepositoryError,
)
from convault.files.wanted import FilesWanted, files_wanted
from convault.manifest import FORMAT
from convault.models import BackupOptions
from convault.project import project
from convault.reconcile import Change, reconcile
from convault.repository import Repository
from convault.settings import Settings
from convault.signing.signature import SigningKeys
from convault.sources.base import Source
from convault.sources.postgres import PostgresSource
from convault.stores import open_store
from convault.stores.base import Store
from convault.stores.pace import PacedStore, TokenBucket


@dataclass(frozen=True, slots=True)
class Installation:
    """What the settings name, opened."""

    settings: Settings
    catalog: Catalog
    repository: Repository

    @property
    def signing(self) -> SigningKeys:
        """The keys that sign manifests and prove them."""
        return self.settings.signing

    def encryptor(self) -> Encryptor | None:
        """What encrypts a backup that is made now, or None for a plain one. RecipientMissing when
        it may not be plain and there is nobody to encrypt it to."""
        return encryptor_of(self.settings.convault_encryption, self.repository, self.catalog)

    def limited(self) -> Installation:
        """The same, whose store takes no more than CONVAULT_STORE_QUOTA allows, and no faster than
        CONVAULT_UPLOAD_LIMIT. QuotaExceeded when it holds that much already."""
        quota, repository = self.settings.store_quota, self.paced(self.repository)
        return replace(self, repository=repository if quota is None else repository.within(quota))

    def paced(self, repository: Repository) -> Repository:
        """The same repository, sent no more bytes a second than CONVAULT_UPLOAD_LIMIT, whichever
        threads send them."""
        limit = self.settings.upload_limit
        if limit is None:
            return repository
        return repository.through(PacedStore(repository.store, TokenBucket(limit)))

    def source(self, options: BackupOptions) -> Source:
        """Where the rows of such a backup come from; see `source_of`."""
        return source_of(self.settings, options)

    def files(self, options: BackupOptions) -> FilesWanted | None:
        """Which Storage files such a backup holds; see `files_wanted`."""
        return files_wanted(self.settings, options)


@dataclass(frozen=True, slots=True)
class InitReport:
    """What `init` did."""

    repository_id: UUID
    migrations: tuple[str, ...] = ()
    """applied now"""
    created: bool = False
    """whether the repository is new"""
    changes: tuple[Change, ...] = ()
    """rows that follow the manifests now, and manifests that cannot be read"""
    done: list[str] = field(default_factory=list)
    """all of it in words, a line each"""


def source_of(settings: Settings, options: BackupOptions) -> Source:
    """Where the rows of such a backup come from; its `check` tells whether what the options ask
    for can be. ConfigurationError without DATABASE_URL (by REST: SUPABASE_URL and its key), or
    without a key that the options need, OptionsError for dates that cannot be; nothing is
    connected."""
    if settings.by_rest:
        # Here, because its HTTP libraries take a while to load.
        from convault.sources.rest import RestSource

        return RestSource(project(), scope=scope_of(settings, options))
    return PostgresSource(
        settings.source_url(),
        scope=scope_of(settings, options),
        lock_timeout=settings.convault_lock_timeout,
        readers=settings.convault_workers,
        connections=settings.convault_source_connections,
    )


def open_installation(settings: Settings) -> Installation:
    """Open what `init` has set up.

    ConfigurationError for settings that are missing; CatalogError when the catalog's tables are
    missing or old, or it knows no repository; RepositoryError when the store holds none, or another
    one than the catalog knows; CatalogUnavailable, StoreUnavailable.
    """
    memory.one_allocator()
    store_url = settings.store_url()
    _ = settings.signing  # refused here, rather than when there is something to sign
    catalog = open_catalog(settings.catalog_url())
    missing = catalog.missing_migrations()
    if missing:
        raise CatalogError(
            f"The catalog's tables are missing or older than this version ({', '.join(missing)} "
            "not applied): run `convault init`."
        )
    expected = catalog.repository_id()
    if expected is None:
        raise CatalogError("The catalog knows no repository yet: run `convault init`.")
    return Installation(settings, catalog, Repository.open(open_store(store_url), expected))


def initialise(settings: Settings, *, new_repository: bool = False) -> InitReport:
    """Set up catalog and repository, or put them right; safe to repeat, two at once are safe.

    A store that holds a repository brings its backups into an empty catalog. With `new_repository`
    the catalog may turn to another repository than it knows, new or not; the rows of the one before
    stay. Errors: RepositoryError when it would have to turn and may not, and those of
    `open_installation`.
    """
    store_url = settings.store_url()
    catalog = open_catalog(settings.catalog_url())
    # First, and also when the store is refused below: it harms nothing, and what follows needs it.
    migrations = catalog.migrate()
    busy = BusyError("Another convault init has been running for 120 s: try later.")
    with catalog.exclusive("convault init", busy, seconds=120) as alone:
        known = catalog.repository_id()
        store = _store(store_url, known, new_repository)
        created = not _is_repository(store)
        if created:
            repository = _create(store, known, new_repository)
        else:
            repository = Repository.open(store, None if new_repository else known)
        ours = _identity(catalog, repository, known, created=created)
        catalog.register_repository(repository.repository_id, ours, store.url)
        alone.check()
    upgraded = repository.upgrade()
    changes = reconcile(repository, catalog, thorough=True)
    return InitReport(
        repository.repository_id,
        tuple(migrations),
        created,
        tuple(changes),
        [
            *_in_words(repository, known, migrations, changes, created=created, upgraded=upgraded),
            *([A_COPY] if repository.is_copy else [FOREIGN] * (ours != repository.installation_id)),
        ],
    )


def _identity(
    catalog: Catalog, repository: Repository, known: UUID | None, *, created: bool
) -> UUID:
    """Who this catalog is to the repository. One that finds a repository which somebody else may be
    writing to is a stranger to it until it adopts it."""
    if created:
        return repository.installation_id
    before = catalog.installation_id() if known == repository.repository_id else None
    return before or uuid4()


def _store(url: str, known: UUID | None, new_repository: bool) -> Store:
    """The folder of a store is made only where a repository may be made in it."""
    if known is None or new_repository:
        return open_store(url, create=True)
    try:
        return open_store(url)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error.message} The catalog belongs to the repository {known}: to start over with "
            "an empty one, run `convault init --new-repository`."
        ) from None


def _is_repository(store: Store) -> bool:
    try:
        store.head(layout.REPOSITORY_KEY)
    except ObjectMissing:
        return False
    return True


def _create(store: Store, known: UUID | None, new_repository: bool) -> Repository:
    if known is not None and not new_repository:
        raise RepositoryError(
            f"{store.url} holds no repository, but the catalog belongs to the repository {known}. "
            "If it lies on a disk that should be mounted, mount it, or set CONVAULT_STORE_URL to "
            "where it is. To start over with an empty one, run `convault init --new-repository`.",
            store=store.url,
            expected=known,
        )
    backup = next(iter(store.list(layout.BACKUPS)), None)
    if backup is not None:
        raise RepositoryError(
            f"{store.url} holds backups, but its {layout.REPOSITORY_KEY} is gone. Put back a copy "
            "of that file, or choose an empty place.",
            store=store.url,
        )
    return Repository.create(store)


def _in_words(
    repository: Repository,
    known: UUID | None,
    migrations: list[str],
    changes: list[Change],
    *,
    created: bool,
    upgraded: bool,
) -> list[str]:
    lines = [f"Applied migration {name}." for name in migrations]
    lines = lines or ["The catalog's tables are up to date."]
    where = f"repository {repository.repository_id} in {repository.store.url}"
    lines.append(f"Created {where}." if created else f"Found {where}.")
    if upgraded:
        lines.append(f"It says format {FORMAT} now. Backups of the format before are read as ever.")
    if known is not None and known != repository.repository_id:
        lines.append(f"The catalog turned from repository {known}; its rows stay.")
    return lines + [str(change) for change in changes]
