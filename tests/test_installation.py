"""`init`, and what everything else refuses to begin without."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from convault.catalog import open_catalog
from convault.catalog.base import BackupStatus
from convault.commit import commit
from convault.embedded.server import EmbeddedPostgres
from convault.errors import (
    CatalogError,
    CatalogUnavailable,
    ConfigurationError,
    ConvaultError,
    RepositoryError,
)
from convault.installation import Installation, initialise, open_installation
from convault.models import BackupOptions
from convault.reconcile import ChangeKind
from convault.settings import Settings
from convault.sources.base import Source
from tests.canaries import marker
from tests.handmade import new_backup

Another = Callable[[], Settings]


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Of an installation that `init` has not seen."""
    return Settings(
        database_url=SecretStr(database), convault_store_url=(tmp_path / "store").as_uri()
    )


@pytest.fixture
def empty_catalog(
    settings: Settings,
    cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
) -> Another:
    """The same settings with an empty database for the catalog."""

    def make() -> Settings:
        return settings.model_copy(
            update={"convault_catalog_url": SecretStr(new_database(cluster))}
        )

    return make


def with_store(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"convault_store_url": folder.as_uri()})


def back_up(installation: Installation) -> None:
    manifest = new_backup(installation.repository, backup_id=uuid4())
    with installation.catalog.begin(manifest.backup_id, manifest.options) as lease:
        commit(installation.repository, installation.catalog, lease, manifest, metrics={})


def test_init_sets_up_what_is_missing(settings: Settings) -> None:
    report = initialise(settings)
    assert report.created
    assert len(report.migrations) >= 3
    assert report.changes == ()
    assert any("Created repository" in line for line in report.done)
    installation = open_installation(settings)
    assert installation.repository.repository_id == report.repository_id
    assert installation.catalog.repository_id() == report.repository_id
    assert isinstance(installation.source(BackupOptions()), Source)


def test_init_again_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    first = initialise(settings)
    before = (tmp_path / "store/convault.json").read_bytes()
    again = initialise(settings)
    assert (again.created, again.migrations, again.changes) == (False, (), ())
    assert again.repository_id == first.repository_id
    assert any("Found repository" in line for line in again.done)
    assert (tmp_path / "store/convault.json").read_bytes() == before


def test_init_says_which_manifest_cannot_be_read(settings: Settings) -> None:
    initialise(settings)
    installation = open_installation(settings)
    back_up(installation)
    (backup_id,) = installation.repository.backup_ids()
    installation.repository.store.replace(installation.repository.manifest_key(backup_id), b"{")
    again = initialise(settings)
    assert [change.kind for change in again.changes] == [ChangeKind.UNREADABLE]
    assert any(f"Backup {backup_id} cannot be read" in line for line in again.done)


def test_init_makes_a_repository_of_format_0_one_of_format_1(
    settings: Settings, tmp_path: Path
) -> None:
    initialise(settings)
    marker = tmp_path / "store/convault.json"
    now = marker.read_bytes()
    marker.write_bytes(now.replace(b'"format": 1', b'"format": 0'))
    assert open_installation(settings).repository.backup_ids() == []
    report = initialise(settings)
    assert any("format 1 now" in line for line in report.done)
    assert marker.read_bytes() == now
    assert not any("format 1 now" in line for line in initialise(settings).done)


def test_init_makes_a_folder_for_its_owner_alone(settings: Settings, tmp_path: Path) -> None:
    initialise(settings)
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700


def test_many_inits_at_once_make_one_repository(settings: Settings) -> None:
    start = threading.Barrier(4)

    def run(_: int) -> tuple[object, bool]:
        start.wait()
        report = initialise(settings)
        return report.repository_id, report.created

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(run, range(4)))
    assert len({repository_id for repository_id, _ in reports}) == 1
    assert sorted(created for _, created in reports) == [False, False, False, True]
    assert open_installation(settings).repository.repository_id == reports[0][0]


def test_inits_at_once_with_two_stores_leave_one_that_the_catalog_knows(
    settings: Settings, tmp_path: Path
) -> None:
    start = threading.Barrier(2)

    def run(name: str) -> object:
        start.wait()
        try:
            return initialise(with_store(settings, tmp_path / name)).repository_id
        except ConvaultError as error:
            return type(error)

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, ["a", "b"]))
    known = open_catalog(settings.catalog_url()).repository_id()
    assert known in results
    assert ConfigurationError in results  # the other folder was not even made
    assert [(tmp_path / name).exists() for name in ("a", "b")].count(True) == 1


def test_init_on_a_store_with_backups_rebuilds_an_empty_catalog(
    settings: Settings, empty_catalog: Another
) -> None:
    initialise(settings)
    installation = open_installation(settings)
    for _ in range(2):
        back_up(installation)
    rebuilt = empty_catalog()
    report = initialise(rebuilt)
    assert not report.created
    assert report.repository_id == installation.repository.repository_id
    assert [change.kind for change in report.changes] == [ChangeKind.ADDED] * 2
    assert len([line for line in report.done if "now listed" in line]) == 2
    rows = open_installation(rebuilt).catalog.list()
    assert {row.id for row in rows} == set(installation.repository.backup_ids())
    assert {row.status for row in rows} == {BackupStatus.COMPLETED}


@pytest.mark.parametrize("unmounted", ["no folder", "empty folder"])
def test_a_disk_that_is_not_mounted_gets_no_new_repository(
    settings: Settings, tmp_path: Path, unmounted: str
) -> None:
    known = initialise(settings).repository_id
    back_up(open_installation(settings))
    before = open_catalog(settings.catalog_url()).list()
    store = tmp_path / "store"
    store.rename(tmp_path / "elsewhere")
    if unmounted == "empty folder":
        store.mkdir(mode=0o700)
    with pytest.raises((RepositoryError, ConfigurationError), match="mount it"):
        open_installation(settings)
    with pytest.raises((RepositoryError, ConfigurationError), match="mount it") as caught:
        initialise(settings)
    assert str(known) in caught.value.message
    assert "`convault init --new-repository`" in caught.value.message
    assert not caught.value.transient
    assert not store.exists() or not any(store.iterdir())
    assert open_catalog(settings.catalog_url()).list() == before
    if store.exists():
        store.rmdir()
    (tmp_path / "elsewhere").rename(store)
    assert initialise(settings).changes == ()


def test_a_new_repository_is_made_when_it_is_asked_for(settings: Settings, tmp_path: Path) -> None:
    old = initialise(settings).repository_id
    back_up(open_installation(settings))
    shutil.rmtree(tmp_path / "store")
    report = initialise(settings, new_repository=True)
    assert report.created
    assert report.repository_id != old
    assert any(f"turned from repository {old}" in line for line in report.done)
    # The rows of the one before are not its own, so they are not called lost.
    (row,) = open_installation(settings).catalog.list()
    assert (row.status, row.repository_id) == (BackupStatus.COMPLETED, old)
    assert initialise(settings, new_repository=True).repository_id == report.repository_id


def test_another_repository_is_refused_unless_it_is_asked_for(
    settings: Settings, empty_catalog: Another, tmp_path: Path
) -> None:
    ours = initialise(settings).repository_id
    theirs = with_store(settings, tmp_path / "theirs")
    other = initialise(
        theirs.model_copy(update={"convault_catalog_url": empty_catalog().convault_catalog_url})
    ).repository_id
    for call in (open_installation, initialise):
        with pytest.raises(RepositoryError, match=rf"{other}.*{ours}.*--new-repository"):
            call(theirs)
    assert open_catalog(settings.catalog_url()).repository_id() == ours
    report = initialise(theirs, new_repository=True)
    assert (report.created, report.repository_id) == (False, other)
    assert open_installation(theirs).repository.repository_id == other
    with pytest.raises(RepositoryError):
        open_installation(settings)
    assert initialise(settings, new_repository=True).repository_id == ours


def test_a_store_whose_marker_is_gone_is_not_written_over(
    settings: Settings, empty_catalog: Another, tmp_path: Path
) -> None:
    initialise(settings)
    back_up(open_installation(settings))
    (tmp_path / "store/convault.json").unlink()
    for again in (settings, empty_catalog()):
        with pytest.raises(RepositoryError):
            initialise(again)
    with pytest.raises(RepositoryError, match=r"holds backups, but its convault\.json is gone"):
        initialise(settings, new_repository=True)
    assert not (tmp_path / "store/convault.json").exists()


def test_opening_before_init_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="convault init") as caught:
        open_installation(settings)
    assert not caught.value.transient
    open_catalog(settings.catalog_url()).migrate()
    with pytest.raises(CatalogError, match=r"knows no repository yet.*convault init"):
        open_installation(settings)
    assert not (tmp_path / "store").exists()


def test_opening_an_older_catalog_is_refused(settings: Settings) -> None:
    initialise(settings)
    with psycopg.connect(settings.catalog_url()) as connection:
        connection.execute(
            "DELETE FROM public.convault_migrations"
            " WHERE name = (SELECT max(name) FROM public.convault_migrations)"
        )
    with pytest.raises(CatalogError, match=r"older than this version \(\d+_\w+ not applied\)"):
        open_installation(settings)
    assert len(initialise(settings).migrations) == 1
    open_installation(settings)


@pytest.mark.parametrize("call", [open_installation, initialise])
@pytest.mark.parametrize("missing", ["DATABASE_URL", "CONVAULT_STORE_URL"])
def test_settings_that_are_missing_are_named(
    settings: Settings, call: Callable[[Settings], object], missing: str
) -> None:
    with pytest.raises(ConfigurationError, match=missing):
        call(settings.model_copy(update={missing.lower(): None}))


@pytest.mark.parametrize("call", [open_installation, initialise])
def test_a_catalog_that_is_down_may_come_back(
    tmp_path: Path, call: Callable[[Settings], object]
) -> None:
    secret = marker("secret")
    settings = Settings(
        database_url=SecretStr(f"postgresql://postgres:{secret}@/postgres?host={tmp_path}"),
        convault_store_url=(tmp_path / "store").as_uri(),
    )
    with pytest.raises(CatalogUnavailable) as caught:
        call(settings)
    assert secret not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_nothing_of_an_installation_shows_a_password(
    settings: Settings, cluster: EmbeddedPostgres
) -> None:
    secret = marker("secret")
    # The cluster asks for no password, and takes any.
    url = settings.source_url().replace("postgres@", f"postgres:{secret}@")
    given = settings.model_copy(update={"database_url": SecretStr(url)})
    report = initialise(given)
    installation = open_installation(given)
    shown = [
        repr(report),
        repr(installation),
        repr(installation.source(BackupOptions())),
        *report.done,
    ]
    shown += [str(vars(installation.repository)), repr(installation.catalog)]
    assert not any(secret in text for text in shown)
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT * FROM public.backup_repositories").fetchall()
    assert secret not in str(rows)
    store = Path(given.store_url().removeprefix("file://"))
    for folder, _, names in os.walk(store):
        for name in names:
            assert secret.encode() not in (Path(folder) / name).read_bytes()
