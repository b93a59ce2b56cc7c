"""What may be taken over from which backup: the pure part, and the choice of the parent."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any, cast
from uuid import UUID

import pytest
from obstore.store import MemoryStore

from convault.catalog.base import BackupRecord, BackupStatus, Catalog
from convault.encryption.objects import Encryptor
from convault.errors import RepositoryError
from convault.manifest import SHARED_INDEX, Manifest, ReuseFacts
from convault.models import BackupFormat, BackupOptions, SourceFacts
from convault.ranges.parent import Parentage, Policy, find_parent
from convault.ranges.range_keys import incomparable
from convault.repository import Repository
from convault.signing.signature import SigningKeys, new_key
from convault.stores.objects import ObjectStore
from tests.encryption.keys import new_key as new_identity
from tests.handmade import BACKUP, TAKEN, new_backup

FACTS = SourceFacts(
    "localhost", "app", "7290000000000000000", "18.0", "00000003-1", TAKEN.isoformat(),
    timeline=1, database_oid=5, wal_position="1/FF000000", next_xid=2**32 + 7,
    started_at="2026-03-01T00:00:00+00:00",
)  # fmt: skip
KEYS = SigningKeys.parse(new_key())


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({}, ""),
        ({"wal_position": "2/0", "next_xid": 2**32 + 6 + 2**31}, ""),
        ({"wal_position": "1/FEFFFFFF"}, "was put back"),
        ({"wal_position": "0/FF000001"}, "was put back"),
        ({"next_xid": 2**32 + 6}, "was put back"),
        ({"next_xid": 2**32 + 7 + 2**31}, "more than 2^31 transactions"),
        ({"wal_position": ""}, "is not known"),
        ({"wal_position": "nonsense"}, "is not known"),
        ({"next_xid": None}, "is not known"),
    ],
)
def test_keys_are_compared_only_while_history_goes_on(now: dict[str, Any], says: str) -> None:
    told = incomparable(FACTS, replace(FACTS, **now))
    assert (says in told) if says else told == ""


class Rows:
    """As much of a catalog as is asked for."""

    def __init__(self, *records: BackupRecord) -> None:
        self.records = records

    def list(self, *, status: BackupStatus) -> list[BackupRecord]:
        return [record for record in self.records if record.status is status]


class Place:
    """A repository with one backup, and its row."""

    def __init__(
        self, *, keys: SigningKeys = KEYS, encryptor: Encryptor | None = None, **changes: Any
    ) -> None:
        self.repository = Repository.create(ObjectStore(MemoryStore(), "memory://reuse"))
        made = new_backup(self.repository, encryptor=encryptor)
        facts = ReuseFacts(range_pages=64, full_at=TAKEN, since_full=3)
        self.manifest = made.model_copy(update={"reuse": facts, **changes})
        self.repository.put_manifest(self.manifest, keys)
        self.row = BackupRecord(
            id=BACKUP,
            status=BackupStatus.COMPLETED,
            options=self.manifest.options,
            created_at=TAKEN,
            updated_at=TAKEN,
            repository_id=self.repository.repository_id,
            manifest_sha256=sha256(self.repository.manifest_bytes(BACKUP)).hexdigest(),
        )

    def find(
        self, options: BackupOptions | None = None, *, days: int = 1, **more: Any
    ) -> Parentage:
        rows = cast(Catalog, Rows(more.pop("row", self.row)))
        given: dict[str, Any] = {"keys": KEYS, "encryptor": None, "policy": Policy(), **more}
        now = TAKEN + timedelta(days=days)
        asked = options or BackupOptions()
        return find_parent(self.repository, rows, asked, now=now, **given)


def test_the_newest_of_the_same_kind_is_the_parent() -> None:
    place = Place()
    found = place.find()
    assert found.parent == place.manifest
    assert found.full_because == ""
    assert found.range_pages(1024) == 64
    assert found.facts == place.manifest.reuse


def test_full_backups_keep_a_parent_to_be_compared_with() -> None:
    place = Place()
    for found, says in (
        (place.find(BackupOptions(full=True)), "asked for"),
        (place.find(policy=Policy(every=4)), "CONVAULT_FULL_EVERY"),
        (place.find(days=30), "CONVAULT_FULL_DAYS"),
    ):
        assert found.parent is not None
        assert says in found.full_because
        assert found.range_pages(1024) == 1024
    assert place.find(policy=Policy(every=5)).full_because == ""
    assert place.find(days=300, policy=Policy(every=0, days=0)).full_because == ""
    early = Place(reuse=None)
    assert "of a version that took nothing over" in early.find().full_because


def test_whatever_is_in_the_way_is_told() -> None:
    place = Place()
    other = Place()
    _, identity = new_identity()
    encryptor = Encryptor([identity.recipient])
    cases = [
        (place.find(BackupOptions(format=BackupFormat.CSV)), "no earlier backup with the same"),
        (place.find(BackupOptions(status=("open",))), "filtered backups"),
        (place.find(row=place.row.model_copy(update={"status": BackupStatus.FAILED})),
         "no earlier"),
        (place.find(row=other.row), "no earlier backup"),
        (place.find(row=place.row.model_copy(update={"options": {"later": 1}})), "no earlier"),
        (place.find(row=place.row.model_copy(update={"id": UUID(int=5)})), "There is no backup"),
        (place.find(row=place.row.model_copy(update={"manifest_sha256": "0" * 64})),
         "not the one that was committed"),
        (place.find(keys=SigningKeys.parse(new_key())), "its manifest is wrong"),
        (Place(keys=SigningKeys()).find(), "its manifest is unsigned"),
        (place.find(encryptor=encryptor), "encrypted to others"),
        (Place(encryptor=encryptor).find(), "encrypted to others"),
    ]  # fmt: skip
    for found, says in cases:
        assert found.parent is None
        assert says in found.full_because
    assert Place(keys=SigningKeys()).find(keys=SigningKeys()).parent is not None
    assert Place(encryptor=encryptor).find(encryptor=encryptor).parent is not None


def test_a_further_index_lies_where_backups_share_it_and_nowhere_else() -> None:
    repository = Repository.create(ObjectStore(MemoryStore(), "memory://index"))
    made = new_backup(repository)
    own = repository.put_index(BACKUP, b"own", [made.tables[0].name], shared=True)
    other = repository.put_index(BACKUP, b"other", [made.tables[0].name], shared=True)
    further = other.model_copy(update={"path": "index.00001.parquet"})
    good = made.model_copy(
        update={"index": own, "indexes": (further,), "features": (SHARED_INDEX,)}
    )
    assert Manifest.from_bytes(good.to_bytes(), where="x") == good
    assert good.objects()[further.key] == good.objects()[own.key] + 2
    assert good.digests()[further.key] == sha256(b"other").hexdigest()
    for update in ({"path": "index.00002.parquet"}, {"path": "index.00001.parquet.age"},
                   {"key": "data/messages/" + further.key.rpartition("/")[2]},
                   {"sha256": "0" * 64}):  # fmt: skip
        bad = good.model_copy(update={"indexes": (further.model_copy(update=update),)})
        with pytest.raises(RepositoryError, match="malformed"):
            Manifest.from_bytes(bad.to_bytes(), where="x")
    with pytest.raises(RepositoryError, match="no index"):
        Manifest.from_bytes(good.model_copy(update={"index": None}).to_bytes(), where="x")
