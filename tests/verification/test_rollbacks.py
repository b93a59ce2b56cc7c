"""Who can write to the store takes a revision away, slips one in, or changes what was committed:
the catalog and the signature show it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from convault import layout
from convault.catalog.postgres import PostgresCatalog
from convault.errors import SignatureError
from convault.reconcile import ChangeKind, reconcile
from convault.repository import Repository
from convault.signing.signature import Signature
from convault.verification.findings import Finding, FindingKind
from convault.verification.verifying import Survey, survey
from tests.encryption.rekeyed import EVE, KEYS, NEW, OLD, SECOND, old_backup, rekeyed
from tests.handmade import BACKUP

FIRST, REVISION = layout.manifest_key(BACKUP), layout.manifest_key(BACKUP, 2)


@pytest.fixture
def catalog(database: str) -> PostgresCatalog:
    made = PostgresCatalog(database)
    made.migrate()
    return made


@pytest.fixture
def repository(catalog: PostgresCatalog, tmp_path: Path) -> Repository:
    """With a signed backup, which was rekeyed twice."""
    made = old_backup()
    catalog.register_repository(made.repository_id, made.installation_id, made.store.url)
    reconcile(made, catalog)
    rekeyed(made, tmp_path / "journals")
    rekeyed(made, tmp_path / "journals", to=(SECOND,), with_=(NEW,))
    reconcile(made, catalog)
    assert catalog.get(BACKUP).revision == 3
    return made


def surveyed(repository: Repository, catalog: PostgresCatalog) -> Survey:
    return survey(repository, catalog, None, KEYS)


def hurting(repository: Repository, catalog: PostgresCatalog) -> list[Finding]:
    return [found for found in surveyed(repository, catalog).findings if found.hurts]


def test_what_superseded_revisions_name_is_known(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    found = surveyed(repository, catalog).findings
    assert {(f.kind, f.reason) for f in found} == {
        (FindingKind.ORPHANED, "only a superseded revision of a manifest names it")
    }
    names = {f.key.rpartition("/")[2].partition(".")[2] for f in found}
    assert names == {"ndjson.zst.age", "parquet.age", "index.parquet.age"}


def test_a_revision_that_was_taken_away_is_missed(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    gone = layout.manifest_key(BACKUP, 3)
    repository.store.delete(gone)
    reconcile(repository, catalog, thorough=True)  # must not believe the store either
    (finding,) = hurting(repository, catalog)
    assert (finding.kind, finding.key) == (FindingKind.MISSING, gone)
    assert finding.backups == (BACKUP,)


def test_an_unsigned_revision_of_a_signed_backup_is_wrong(
    catalog: PostgresCatalog, tmp_path: Path
) -> None:
    repository = old_backup()
    catalog.register_repository(
        repository.repository_id, repository.installation_id, repository.store.url
    )
    reconcile(repository, catalog)
    forged = repository.manifest(BACKUP).model_copy(update={"revision": 2})
    repository.put_manifest(forged)
    manifest, data = repository.stored_manifest(BACKUP)
    first = repository.superseded(manifest)
    assert KEYS.check(data, superseded=first) is Signature.WRONG
    assert KEYS.check(data, superseded=forged.to_bytes()) is Signature.UNSIGNED
    for recipient in (OLD, NEW):  # whether or not there is anything to do
        with pytest.raises(SignatureError, match="a later revision that is unsigned"):
            rekeyed(repository, tmp_path / "journals", to=(recipient,))
    reconcile(repository, catalog)
    (finding,) = hurting(repository, catalog)
    assert (finding.kind, finding.key) == (FindingKind.DAMAGED, REVISION)


def test_what_was_committed_is_not_learned_again_from_the_store(
    catalog: PostgresCatalog, tmp_path: Path
) -> None:
    """Neither with a later revision, nor when a backup was away for a while."""
    repository = old_backup()
    catalog.register_repository(
        repository.repository_id, repository.installation_id, repository.store.url
    )
    reconcile(repository, catalog)
    committed = catalog.get(BACKUP).manifest_sha256
    original = repository.store.get(FIRST)
    changed = json.loads(original)
    del changed["signature"]
    changed["convault"]["statements"] = []
    forged = json.dumps(changed, indent=1).encode() + b"\n"

    repository.store.delete(FIRST)
    assert [c.kind for c in reconcile(repository, catalog)] == [ChangeKind.LOST]
    repository.store.put(FIRST, forged)
    assert [c.kind for c in reconcile(repository, catalog)] == [ChangeKind.COMPLETED]
    assert catalog.get(BACKUP).manifest_sha256 == committed
    (finding,) = hurting(repository, catalog)
    assert "not those that were committed" in finding.reason

    repository.put_manifest(repository.manifest(BACKUP).model_copy(update={"revision": 2}))
    assert [c.kind for c in reconcile(repository, catalog)] == [ChangeKind.REVISED]
    assert catalog.get(BACKUP).manifest_sha256 == committed
    assert any("that were committed" in f.reason for f in hurting(repository, catalog))


def test_a_recipient_in_the_store_is_none_of_the_next_backup(
    repository: Repository, catalog: PostgresCatalog
) -> None:
    manifest = repository.manifest(BACKUP)
    assert manifest.encryption is not None
    facts = manifest.encryption.model_copy(
        update={"recipients": (*manifest.encryption.recipients, EVE.recipient)}
    )
    repository.put_manifest(manifest.model_copy(update={"revision": 4, "encryption": facts}))
    reconcile(repository, catalog)
    eve = [r for r in catalog.recipients() if r.public_key == EVE.recipient]
    assert [r.active for r in eve] == [False]
