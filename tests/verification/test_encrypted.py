"""Encrypted backups, and revisions of their manifests: verified without a key, drilled with one."""

from __future__ import annotations

from pathlib import Path

import pytest

from convault.catalog import BackupStatus
from convault.drill.drilling import plan
from convault.encryption.objects import Encryptor
from convault.encryption.rekey import rekey
from convault.errors import IdentityNeeded
from convault.reconcile import reconcile
from convault.signing.signature import SigningKeys
from convault.verification.findings import Repair
from convault.verification.reading import Subset
from convault.verification.verifying import verify
from tests.encryption.test_encryption import ALICE, BOB
from tests.restore.builder import back_up
from tests.verification.conftest import PART_BYTES, Kept


def test_verified_without_a_key_also_when_it_was_rekeyed(kept: Kept, tmp_path: Path) -> None:
    installation = kept.installation
    encryptor = Encryptor([ALICE.recipient])
    repository = installation.repository
    manifest = back_up(repository, kept.application.url, part_bytes=PART_BYTES, encryptor=encryptor)
    repository.put_manifest(manifest)
    reconcile(repository, installation.catalog)
    try:
        sound = verify(installation, manifest.backup_id, subset=Subset.parse("all"))
        assert (sound.findings, sound.read_objects) == ((), len(manifest.objects()))

        with pytest.raises(IdentityNeeded):
            plan(installation, manifest.backup_id)
        planned = plan(installation, manifest.backup_id, identities=[ALICE])
        assert planned.identities == (ALICE,)

        rekey(
            repository, manifest.backup_id, [BOB.recipient], identities=[ALICE],
            keys=SigningKeys(), journals=tmp_path / "journals",
        )  # fmt: skip
        revised = repository.manifest(manifest.backup_id)
        assert revised.revision == 2
        found = verify(installation, subset=Subset.parse("all"))
        assert found.sound
        superseded = manifest.objects().keys() - revised.objects().keys()
        parts = {key for key in superseded if key.startswith("data/")}
        assert {f.key for f in found.findings} >= parts
        assert {f.kind for f in found.findings} == {"orphaned"}

        part = revised.tables[-1].parts[0]
        kept.delete(part.key)
        (finding,) = verify(installation, manifest.backup_id, put_back=True).findings
        assert finding.repair is Repair.NOT_REPAIRABLE
        assert "other bytes every time" in finding.reason
    finally:
        # The rows are shared: this one's manifest is in this test's copy alone.
        row = installation.catalog.get(manifest.backup_id)
        installation.catalog.replace(row, status=BackupStatus.FAILED, error="gone")


def test_a_wrong_signature_is_damage(kept: Kept) -> None:
    from convault.verification.verifying import survey

    keys = SigningKeys((b"k" * 32,))
    repository, catalog = kept.installation.repository, kept.installation.catalog
    key = repository.manifest_key(kept.first.backup_id)
    signed = keys.sign(kept.first.to_bytes())
    kept.write(key, signed)
    catalog.update(kept.first.backup_id, manifest_sha256=None)
    try:
        assert survey(repository, catalog, kept.first.backup_id, keys).findings == []
        catalog.update(kept.first.backup_id, manifest_sha256=None)
        kept.write(key, signed.replace(kept.first.source.host.encode(), b"elsewhere", 1))
        (finding,) = survey(repository, catalog, kept.first.backup_id, keys).findings
        assert "its signature is wrong" in finding.reason
    finally:
        from hashlib import sha256

        digest = sha256(kept.first.to_bytes()).hexdigest()
        catalog.update(kept.first.backup_id, manifest_sha256=digest)
