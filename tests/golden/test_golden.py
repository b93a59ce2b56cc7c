"""Every version restores the golden repository of format 1, and gives its downloads' very bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from convault.archive.composed import Archive
from convault.embedded.server import EmbeddedPostgres
from convault.encryption import age
from convault.encryption.age import Identity
from convault.models import BackupFormat
from convault.repository import Repository
from convault.restore import restore
from convault.signing.signature import Signature, SigningKeys
from convault.stores.folder import FolderStore
from tests.golden.contents import (
    HOME,
    IDENTITY,
    SIGNING_KEY,
    SUMS,
    digests,
    expected_path,
    rows_of,
)

SUMS_DIGEST = "363d08c5a80e82c59527258682766a993d1496bb8e6294ea4d7013a06ca6683c"
"""Of SHA256SUMS. It changes with a release that declares another golden repository, and never by
itself: tests/golden/make.py tells when it may."""

BACKUPS = sorted(json.loads((HOME / "tars.json").read_bytes()))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A copy, so that nothing can change the golden one."""
    shutil.copytree(HOME / "repository", tmp_path / "repository")
    return Repository.open(FolderStore(tmp_path / "repository", "file:///golden"))


def identity() -> Identity:
    (secret,) = [line for line in IDENTITY.read_text().splitlines() if not line.startswith("#")]
    return age.identity(secret)


def test_nobody_changed_it() -> None:
    sums = (HOME / SUMS).read_text()
    assert sha256(sums.encode()).hexdigest() == SUMS_DIGEST
    assert dict(line.split("  ")[::-1] for line in sums.splitlines()) == digests()


def test_it_has_what_a_format_has_to_keep(repository: Repository) -> None:
    manifests = [repository.manifest(backup_id) for backup_id in repository.backup_ids()]
    assert [str(manifest.backup_id) for manifest in manifests] == BACKUPS
    assert {manifest.options["format"] for manifest in manifests} == set(BackupFormat)
    assert sum(manifest.encryption is not None for manifest in manifests) == 2
    (filtered,) = [manifest for manifest in manifests if manifest.selection is not None]
    assert (filtered.revision, filtered.encryption is not None) == (2, True)
    masks = {c.name: c.mask for table in filtered.tables for c in table.columns if c.mask}
    assert masks == {"title": "null", "body": "hash"}
    assert {absence.column for absence in filtered.absent} == {"place", "size"}
    for manifest in manifests:
        stored = repository.manifest_bytes(manifest.backup_id)
        assert SigningKeys.parse(SIGNING_KEY).check(stored) is Signature.SIGNED
    for manifest in manifests:
        assert manifest.format == 1
        assert manifest.index is not None
        tables = {table.name.name: table for table in manifest.tables}
        assert len(tables["kinds"].columns) > 70
        assert tables["messages"].kind == "p"
        assert {table.name.schema for table in manifest.tables} == {"public", "Caixa de entrada"}
        if manifest is filtered:
            continue
        assert len(tables["messages_new"].parts) > len(tables["messages_new"].ranges)
        assert len(tables["messages_new"].ranges) > 1
        keys = [entry.key for entry in tables["messages_new"].ranges]
        assert None not in keys
        assert "regclass" in tables["kinds"].ranges[0].reason


@pytest.mark.parametrize("backup", BACKUPS)
@pytest.mark.parametrize("version", [16, 18])
def test_it_comes_back_row_by_row(
    repository: Repository,
    cluster_of: Callable[[int], EmbeddedPostgres],
    new_database: Callable[[EmbeddedPostgres], str],
    version: int,
    backup: str,
) -> None:
    url = new_database(cluster_of(version))
    manifest = repository.manifest(UUID(backup))
    folder = "expected" if manifest.selection is None else "filtered"
    restore(repository, manifest, url, identities=[identity()])
    with psycopg.connect(url) as connection:
        for table in manifest.tables:
            if table.kind == "r":
                rows = rows_of(connection, table.name)
                assert rows == expected_path(table.name, folder).read_bytes(), table.name
    names = {expected_path(table.name).name for table in manifest.tables if table.kind == "r"}
    assert names == {path.name for path in (HOME / folder).iterdir()}


@pytest.mark.parametrize("backup", BACKUPS)
def test_its_download_has_the_bytes_that_it_always_had(repository: Repository, backup: str) -> None:
    digest = sha256()
    for piece in Archive(repository, UUID(backup)).stream():
        digest.update(piece)
    assert digest.hexdigest() == json.loads((HOME / "tars.json").read_bytes())[backup]
