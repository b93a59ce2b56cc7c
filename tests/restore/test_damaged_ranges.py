"""One conversation out of objects that are not what was stored: each is named, nothing is loaded.

Only some bytes of each object are read, so its own digest proves nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from convault.encryption.age import Identity
from convault.encryption.objects import Encryptor
from convault.errors import ConvaultError, IntegrityError
from convault.manifest import Manifest
from convault.models import BackupFormat
from convault.repository import Repository
from convault.restore import RestoreOptions, restore
from convault.stores import open_store
from convault.stores.base import Store
from tests.encryption.keys import flipped, new_key
from tests.restore.builder import back_up
from tests.restore.counting import CountingStore
from tests.restore.test_index import TABLES

KINDS = [
    pytest.param(format, encrypted, id=f"{format}{' encrypted' if encrypted else ''}")
    for format in (BackupFormat.JSON, BackupFormat.PARQUET)
    for encrypted in (False, True)
]


class Recording(CountingStore):
    """Notes which bytes were read of which object below `data/`, and of the index."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.ranges: dict[str, list[tuple[int, int | None]]] = {}

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        if key.startswith("data/") or "index.parquet" in key:
            self.ranges.setdefault(key, []).append((start, end))
        return super().stream(key, start, end)


def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def _restore(
    repository: Repository, manifest: Manifest, target: str, wanted: str, identity: Identity
) -> None:
    options = RestoreOptions(conversations=(wanted,))
    restore(repository, manifest, target, options, identities=[identity])


def _refused(
    repository: Repository, manifest: Manifest, target: str, wanted: str, identity: Identity,
    key: str,
) -> None:  # fmt: skip
    with pytest.raises(IntegrityError) as caught:
        _restore(repository, manifest, target, wanted, identity)
    assert key in caught.value.message
    assert _is_empty(target)


def _is_empty(target: str) -> bool:
    query = "SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    return _rows(target, query) == []


@pytest.mark.parametrize(("format", "encrypted"), KINDS)
def test_what_is_damaged_where_it_is_read_is_named(
    database: str, target: str, repository: Repository, format: BackupFormat, encrypted: bool
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TABLES.encode())
    _, identity = new_key()
    encryptor = Encryptor([identity.recipient]) if encrypted else None
    manifest = back_up(repository, database, part_bytes=32 << 20, range_pages=2048, format=format,
                       encryptor=encryptor)  # fmt: skip
    other = Repository.create(open_store(f"memory://{uuid4().hex}"))
    again = back_up(other, database, part_bytes=1 << 19, format=format,
                    encryptor=encryptor)  # fmt: skip
    wanted = str(_rows(database, "SELECT md5('1')::uuid::text")[0][0])  # it has no parents
    recording = Recording(repository.store)
    _restore(Repository.open(recording), manifest, target, wanted, identity)
    held = "SELECT id FROM messages WHERE conversation_id = md5('1')::uuid ORDER BY id"
    assert _rows(target, held) == _rows(database, held) != []
    with psycopg.connect(target, autocommit=True) as connection:
        connection.execute(b"DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def refused(key: str) -> None:
        _refused(repository, manifest, target, wanted, identity, key)

    store = repository.store
    by_range = {key: ranges for key, ranges in recording.ranges.items() if (0, None) not in ranges}
    assert any("messages" in key for key in by_range)  # some are read as wholes, being small
    assert any("index" in key for key in by_range)
    for key, ranges in by_range.items():
        stored = store.get(key)
        for start, _ in ranges[:2]:
            store.replace(key, flipped(stored, start + 3))
            refused(key)
        store.replace(key, stored)
    key = max((key for key in by_range if "messages" in key), key=lambda key: len(store.get(key)))
    stored = store.get(key)
    # One of another repository, and what anybody could make who knows the recipients.
    foreign = other.store.get(again.tables[-1].parts[0].key)
    forged = [foreign]
    if encryptor is not None:
        forged.append(encryptor.encrypt(bytes(len(stored) - 2000)))
    read = max(end or 0 for _, end in by_range[key])
    # What is cut off behind that harms nothing here; `verify` finds it by the size.
    for data in (b"", stored[:1], stored[: read // 2], stored[: read - 1], *forged):
        store.replace(key, data)
        with pytest.raises(ConvaultError) as caught:  # the store may find out first
            _restore(repository, manifest, target, wanted, identity)
        assert key in caught.value.message
        assert _is_empty(target)
    for data in (*forged, stored[: read // 2]):
        store.replace(key, (data + bytes(len(stored)))[: len(stored)])
        refused(key)
    store.delete(key)
    refused(key)
    # Two of one backup in each other's place.
    index = next(key for key in by_range if "index" in key)
    swapped = store.get(index)
    store.put(key, swapped)
    store.replace(index, stored)
    with pytest.raises(IntegrityError):
        _restore(repository, manifest, target, wanted, identity)
    assert _is_empty(target)
