"""What lies beside a manifest, damaged or missing: made again, or told why it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from convault import schema
from convault.commit import write_members
from convault.dataset.scope import Scope
from convault.embedded.server import EmbeddedPostgres
from convault.encryption.objects import Encryptor
from convault.manifest import Manifest
from convault.models import BackupFormat, BackupOptions
from convault.readme import encrypted as readme_encrypted
from convault.readme import text as readme
from convault.repository import Repository
from convault.sources.base import Source
from convault.sources.postgres import PostgresSource
from convault.stores.folder import FolderStore
from convault.verification import presence
from convault.verification.findings import Finding, FindingKind, Repair
from convault.verification.holdings import read_holdings
from convault.verification.reading import read_back
from convault.verification.repairing import Repairing
from tests.encryption.test_encryption import ALICE
from tests.flows.application import database
from tests.handmade import BACKUP, new_backup, new_repository
from tests.restore.builder import CONVERSATIONS, MESSAGES, back_up
from tests.verification.conftest import PART_BYTES, Kept


def no_source(options: BackupOptions) -> Source:
    raise AssertionError("what lies beside a manifest needs no source")


def looked(
    repository: Repository,
    backup_ids: Sequence[UUID],
    *,
    put_back: bool,
    sources=no_source,  # type: ignore[no-untyped-def]
) -> dict[str, Finding]:
    """What `verify --read-data all` finds of these backups, by key."""
    holdings = read_holdings(repository, backup_ids, {})
    listing = {info.key: info for info in repository.store.list()}
    findings = list(presence.faults(holdings, listing))
    known = {finding.key for finding in findings}
    wanted = [needed for key, needed in holdings.needed.items() if key not in known]
    findings += [found for _, found in read_back(repository.store, wanted) if found is not None]
    repairing = Repairing(repository, sources, PART_BYTES, put_back)
    return {finding.key: finding for finding in repairing.of(holdings, findings)}


def handmade(encryptor: Encryptor | None = None) -> tuple[Repository, Manifest]:
    """A backup whose small files are what the manifest tells."""
    repository = new_repository()
    manifest = new_backup(repository, encryptor=encryptor)
    script = schema.as_script(manifest.statements)
    repository.store.delete(manifest.members[1].key)
    member = repository.put_member(BACKUP, "schema.sql", script)
    manifest = manifest.model_copy(update={"members": (manifest.members[0], member)})
    repository.put_manifest(manifest)
    return repository, manifest


def test_small_files_are_put_back_from_the_manifest() -> None:
    repository, manifest = handmade()
    about, script = manifest.members
    whole = {member.key: repository.store.get(member.key) for member in manifest.members}
    flipped = b"#" + whole[about.key][1:]
    repository.store.replace(about.key, flipped)
    repository.store.delete(script.key)

    found = looked(repository, [BACKUP], put_back=False)
    assert {key: f.kind for key, f in found.items()} == {
        about.key: FindingKind.DAMAGED,
        script.key: FindingKind.MISSING,
    }
    assert {f.repair for f in found.values()} == {Repair.REPAIRABLE}
    assert repository.store.get(about.key) == flipped, "without --repair nothing is written"

    repaired = looked(repository, [BACKUP], put_back=True)
    assert {f.repair for f in repaired.values()} == {Repair.REPAIRED}
    assert {key: repository.store.get(key) for key in whole} == whole
    (aside,) = repository.store.list("damaged/")
    assert aside.key.startswith(f"damaged/{about.key}/")
    assert repository.store.get(aside.key) == flipped
    assert looked(repository, [BACKUP], put_back=True) == {}


def test_what_another_version_wrote_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    repository, manifest = handmade()
    key = manifest.members[0].key
    repository.store.replace(key, b"x")
    monkeypatch.setattr(readme, "text", lambda *_: b"what a later version says")
    (finding,) = looked(repository, [BACKUP], put_back=True).values()
    assert finding.repair is Repair.NOT_REPAIRABLE
    assert "makes other bytes of it: put it back from a copy" in finding.reason
    assert repository.store.get(key) == b"x"
    assert list(repository.store.list("damaged/")) == []


@pytest.mark.parametrize("format", list(BackupFormat))
def test_an_index_is_put_back_from_the_parts(kept: Kept, format: BackupFormat) -> None:
    repository = kept.installation.repository
    manifest = back_up(repository, kept.application.url, part_bytes=PART_BYTES, format=format)
    repository.put_manifest(manifest)
    assert manifest.index is not None
    key, backup = manifest.index.key, manifest.backup_id
    whole = kept.read(key)
    kept.write(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    (finding,) = looked(repository, [backup], put_back=False).values()
    assert (finding.key, finding.repair) == (key, Repair.REPAIRABLE), finding.reason
    assert kept.read(key) != whole
    (finding,) = looked(repository, [backup], put_back=True).values()
    assert finding.repair is Repair.REPAIRED
    assert kept.read(key) == whole


_SCHOOL = """
CREATE TABLE conversations (id uuid PRIMARY KEY, created_at timestamptz DEFAULT now());
CREATE TABLE messages (id bigint, part smallint, body text, PRIMARY KEY (id, part),
    conversation_id uuid REFERENCES conversations);
CREATE TABLE attachments (id bigint PRIMARY KEY, message_id bigint, part smallint,
    FOREIGN KEY (message_id, part) REFERENCES messages);
INSERT INTO conversations SELECT md5(n::text)::uuid FROM generate_series(1, 40) n;
INSERT INTO messages SELECT n, n % 3, repeat('olá', 20), nullif(md5((n % 41)::text), md5('0'))::uuid
    FROM generate_series(1, 900) n;
INSERT INTO attachments SELECT n, CASE WHEN n % 7 > 0 THEN n END, n % 3
    FROM generate_series(1, 900) n;
"""


def test_all_that_a_backup_writes_comes_back_byte_for_byte(
    cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    """README.txt and schema.sql as a commit writes them; an index over two foreign keys, one of
    them of two columns and sometimes NULL."""
    repository = new_repository(FolderStore.create(tmp_path / "store", "file:///store"))
    with database(cluster) as url:
        with psycopg.connect(url) as connection:
            connection.execute(_SCHOOL)
        manifest = back_up(repository, url, part_bytes=8192)
        with PostgresSource(
            url, scope=Scope(CONVERSATIONS, MESSAGES), lock_timeout=10
        ).snapshot() as snapshot:
            members = write_members(
                repository, manifest.backup_id, facts=manifest.source,
                dataset=snapshot.dataset, options=BackupOptions.parse(manifest.options),
                statements=snapshot.statements,
            )  # fmt: skip
    manifest = manifest.model_copy(update={"members": members})
    repository.put_manifest(manifest)
    assert manifest.index is not None
    assert [name.name for name in manifest.index.tables] == [
        "conversations",
        "messages",
        "attachments",
    ]
    keys = [*(member.key for member in members), manifest.index.key]
    whole = {key: repository.store.get(key) for key in keys}
    for key in keys:
        repository.store.delete(key)
    found = looked(repository, [manifest.backup_id], put_back=True)
    assert {key: f.repair for key, f in found.items()} == dict.fromkeys(keys, Repair.REPAIRED)
    assert {key: repository.store.get(key) for key in keys} == whole


def test_an_index_is_not_made_of_damaged_parts(kept: Kept) -> None:
    repository = kept.installation.repository
    index, part = kept.first.index, kept.first.tables[-1].parts[0]
    assert index is not None
    kept.delete(index.key)
    kept.write(part.key, b"x" * part.stored_bytes)

    found = looked(
        repository,
        [kept.first.backup_id],
        put_back=False,
        sources=kept.installation.source,
    )
    assert found[part.key].repair is Repair.REPAIRABLE
    assert found[index.key].repair is Repair.NOT_REPAIRABLE
    assert part.key in found[index.key].reason
    # The part first: then there is something to make the index of.
    found = looked(
        repository, [kept.first.backup_id], put_back=True, sources=kept.installation.source
    )
    assert {f.repair for f in found.values()} == {Repair.REPAIRED}


def test_an_encrypted_index_is_told_why(kept: Kept) -> None:
    repository = kept.installation.repository
    manifest = back_up(
        repository, kept.application.url, part_bytes=PART_BYTES,
        encryptor=Encryptor([ALICE.recipient]),
    )  # fmt: skip
    repository.put_manifest(manifest)
    assert manifest.index is not None
    kept.delete(manifest.index.key)
    (finding,) = looked(repository, [manifest.backup_id], put_back=True).values()
    assert finding.repair is Repair.NOT_REPAIRABLE
    assert "it is encrypted" in finding.reason
    assert "copy of the repository" in finding.reason


def test_readme_of_an_encrypted_backup_is_put_back() -> None:
    """It is not encrypted itself; rekeys put the same words before it."""
    repository, manifest = handmade(Encryptor([ALICE.recipient]))
    plain = repository.store.get(manifest.members[0].key)
    text = readme_encrypted.text(BACKUP) + plain
    entry = repository.put_revised(BACKUP, "README.txt", text)
    member = manifest.members[0].model_copy(update=entry)
    revised = manifest.model_copy(update={"revision": 2, "members": (member, manifest.members[1])})
    repository.put_manifest(revised)
    repository.store.delete(member.key)
    (finding,) = looked(repository, [BACKUP], put_back=True).values()
    assert (finding.key, finding.repair) == (member.key, Repair.REPAIRED)
    assert repository.store.get(member.key) == text
