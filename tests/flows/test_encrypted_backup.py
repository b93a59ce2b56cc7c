"""The flow with recipients: what it writes only they can read, and it is never silently plain."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import polars as pl
import psycopg
import pytest

from convault.archive.composed import Archive
from convault.catalog import BackupStatus
from convault.comparison import compare
from convault.encryption.age import Identity
from convault.encryption.objects import unlocked
from convault.errors import (
    ConvaultError,
    DamagedHeader,
    IdentityNeeded,
    IntegrityError,
    RecipientMissing,
    StoreUnavailable,
    WrongIdentity,
)
from convault.manifest import Manifest
from convault.models import BackupFormat, BackupOptions
from convault.repository import Repository
from convault.restore import restore
from convault.signing.signature import Signature
from flows.backup import backup
from tests.encryption.keys import flipped, new_key
from tests.flows.application import Application
from tests.prefect_server import PrefectServer

pytestmark = [pytest.mark.prefect_server, pytest.mark.xdist_group("flows")]

SECRET, ALICE = new_key()
_, BOB = new_key()
_, EVE = new_key()


@pytest.fixture
def encrypted(application: Application) -> Application:
    """With two recipients."""
    catalog = application.installation().catalog
    catalog.add_recipient(ALICE.recipient, "office")
    catalog.add_recipient(BOB.recipient)
    return application


def check_restores(
    application: Application, manifest: Manifest, target: str, key: Identity
) -> None:
    """Into an empty database, where every row is then what it is in the source."""
    restore(application.installation().repository, manifest, target, identities=[key])
    names = [table.name for table in manifest.tables]
    assert all(found.equal for found in compare(application.url, target, names))
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def check_refused(
    repository: Repository, manifest: Manifest, target: str, error: type[ConvaultError],
    *identities: Identity,
) -> None:  # fmt: skip
    """And the target is as empty as it was."""
    with pytest.raises(error) as caught:
        restore(repository, manifest, target, identities=identities)
    assert type(caught.value) is error
    with psycopg.connect(target) as connection:
        query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(query).fetchone() == (0,)


def test_each_recipient_restores_every_row_and_nobody_else_any(
    encrypted: Application, empty: str, prefect_api: PrefectServer
) -> None:
    encrypted.execute("UPDATE conversations SET subject = 'uma frase que se acha'")
    record = backup(BackupOptions(compression_level=0))
    installation = encrypted.installation()
    repository = installation.repository
    manifest, data = repository.stored_manifest(record.id)
    assert installation.signing.check(data) is Signature.SIGNED
    assert record.file_size == Archive(repository, record.id).size
    assert (record.metrics or {})["warnings"] == []
    parts = [part for table in manifest.tables for part in table.parts]
    assert len(parts) > 6
    assert all(part.key.endswith(".ndjson.age") for part in parts)

    check_refused(repository, manifest, empty, IdentityNeeded)
    check_refused(repository, manifest, empty, WrongIdentity, EVE)
    good = repository.store.get(parts[-1].key)
    for at, error in ((40, DamagedHeader), (len(good) - 1, IntegrityError)):
        repository.store.replace(parts[-1].key, flipped(good, at))
        check_refused(repository, manifest, empty, error, ALICE)
    repository.store.replace(parts[-1].key, good)
    for identity in (ALICE, BOB):
        check_restores(encrypted, manifest, empty, identity)

    assert manifest.index is not None
    assert manifest.index.path == "index.parquet.age"
    stored = repository.store.get(manifest.index.key)
    index = pl.read_parquet(io.BytesIO(unlocked(manifest, [ALICE]).decrypted("it", stored)))
    index = index.filter(pl.col("conversation").is_not_null())
    assert index["rows"].sum() == 50 + 2000
    assert set(index["part"]) <= set(manifest.objects())

    key = encrypted.environment["CONVAULT_SIGNING_KEY"]
    places: list[Path] = [*prefect_api.home.rglob("*"), *encrypted.store.rglob("*")]
    for path in places:
        with suppress(FileNotFoundError, IsADirectoryError):  # the server works on
            found = path.read_bytes()
            assert not any(word in found for word in (b"uma frase", SECRET.encode(), key.encode()))


def test_an_upload_and_a_commit_that_are_tried_again_put_the_same_bytes(
    encrypted: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's answer is lost, once for a part and once for the manifest."""
    put_part, put_manifest, lost = Repository.put_part, Repository.put_manifest, []

    def losing_a_part(self: Repository, key: str, sha256: str, data: bytes) -> object:
        stored = put_part(self, key, sha256, data)
        if not lost:
            lost.append(key)
            raise StoreUnavailable("the answer was lost")
        return stored

    def losing_a_manifest(self: Repository, *arguments: object) -> None:
        put_manifest(self, *arguments)  # type: ignore[arg-type]
        if len(lost) == 1:
            lost.append("manifest")
            raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(Repository, "put_part", losing_a_part)
    monkeypatch.setattr(Repository, "put_manifest", losing_a_manifest)
    record = backup()
    assert len(lost) == 2
    assert record.status is BackupStatus.COMPLETED
    repository = encrypted.installation().repository
    assert repository.backup_ids() == [record.id]
    stored = {info.key for info in repository.store.list("data/")}
    assert stored == {key for key in repository.manifest(record.id).objects() if "data/" in key}


def test_a_retired_recipient_is_left_out_and_without_any_it_is_refused(
    encrypted: Application, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = encrypted.installation()
    repository, catalog = installation.repository, installation.catalog
    before = repository.manifest(backup(BackupOptions(format=BackupFormat.CSV)).id)
    catalog.retire_recipient(BOB.recipient)
    after = repository.manifest(backup(BackupOptions(format=BackupFormat.PARQUET)).id)
    check_refused(repository, after, empty, WrongIdentity, BOB)
    check_restores(encrypted, after, empty, ALICE)
    check_restores(encrypted, before, empty, BOB)

    catalog.retire_recipient(ALICE.recipient, last=True)
    objects = {info.key for info in repository.store.list()}
    with pytest.raises(RecipientMissing, match="earlier backups are encrypted"):
        backup()
    newest = catalog.list()[0]
    assert newest.status is BackupStatus.FAILED
    assert "convault keys add" in (newest.error or "")
    assert {info.key for info in repository.store.list()} == objects

    monkeypatch.setenv("CONVAULT_ENCRYPTION", "off")
    monkeypatch.delenv("CONVAULT_SIGNING_KEY")
    record = backup()
    unsigned, plain = (record.metrics or {})["warnings"]
    assert "unsigned" in unsigned
    assert "convault init" in unsigned
    assert "is not encrypted" in plain
    data = repository.manifest_bytes(record.id)
    assert installation.signing.check(data) is Signature.UNSIGNED
