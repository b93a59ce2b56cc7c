"""An object that is not what was stored: nothing is loaded, and the error names the object."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import psycopg
import pytest

from convault.commit import write_members
from convault.errors import ConvaultError, IntegrityError, StoreUnavailable
from convault.formats.compression import compressed
from convault.formats.ndjson import document
from convault.manifest import PartEntry
from convault.models import BackupOptions, Dataset
from convault.repository import Repository
from convault.restore import restore
from convault.stores.base import Store
from tests.restore.builder import back_up
from tests.restore.conftest import Backup
from tests.restore.tables import PARTS

Damage = Callable[[bytes, bytes], bytes]

SAME_SIZE: dict[str, Damage] = {
    "first bit flipped": lambda stored, other: bytes([stored[0] ^ 1]) + stored[1:],
    "middle bit flipped": lambda stored, other: (
        stored[: len(stored) // 2]
        + bytes([stored[len(stored) // 2] ^ 16])
        + stored[len(stored) // 2 + 1 :]
    ),
    "last bit flipped": lambda stored, other: stored[:-1] + bytes([stored[-1] ^ 128]),
    "zeros": lambda stored, other: bytes(len(stored)),
    "other bytes": lambda stored, other: (other * len(stored))[: len(stored)],
}
ANOTHER_SIZE: dict[str, Damage] = {
    "truncated": lambda stored, other: stored[:-1],
    "half": lambda stored, other: stored[: len(stored) // 2],
    "one byte": lambda stored, other: stored[:1],
    "empty": lambda stored, other: b"",
    "longer": lambda stored, other: stored + b"\0",
    "swapped with another part": lambda stored, other: other,
}


def _is_untouched(url: str) -> bool:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE nspname = 'public'"
        ).fetchone()
    return row == (0,)


def _last_part(backup: Backup) -> PartEntry:
    """The last that is loaded: everything before it is in the target's transaction by then."""
    return [part for table in backup.manifest.tables for part in table.parts][-1]


def _replace(store: Store, key: str, data: bytes) -> None:
    store.delete(key)
    store.put(key, data)


def _refused(backup: Backup, target: str, key: str) -> str:
    with pytest.raises(IntegrityError) as caught:
        restore(backup.repository, backup.manifest, target)
    assert key in caught.value.message
    assert _is_untouched(target)
    return caught.value.message


@pytest.mark.parametrize("damage", SAME_SIZE.values(), ids=SAME_SIZE)
def test_other_bytes_of_the_same_size(backup: Backup, target: str, damage: Damage) -> None:
    store, part = backup.repository.store, _last_part(backup)
    other = backup.manifest.tables[0].parts[0]
    _replace(store, part.key, damage(store.get(part.key), store.get(other.key)))
    _refused(backup, target, part.key)


@pytest.mark.parametrize("damage", ANOTHER_SIZE.values(), ids=ANOTHER_SIZE)
def test_another_size_is_seen_before_the_target_is_reached(backup: Backup, damage: Damage) -> None:
    store, part = backup.repository.store, _last_part(backup)
    other = max(
        (p for table in backup.manifest.tables for p in table.parts), key=lambda p: p.stored_bytes
    )
    assert other.stored_bytes != part.stored_bytes
    _replace(store, part.key, damage(store.get(part.key), store.get(other.key)))
    with pytest.raises(IntegrityError, match=part.sha256):
        restore(backup.repository, backup.manifest, "postgresql://127.0.0.1:1/nowhere")


def test_a_flipped_bit_in_one_part_after_the_other(backup: Backup, target: str) -> None:
    store = backup.repository.store
    parts = {part.key for table in backup.manifest.tables for part in table.parts}
    assert len(parts) >= PARTS
    for key in sorted(parts):
        whole = store.get(key)
        changed = bytearray(whole)
        bit = random.Random(key).randrange(8 * len(whole))
        changed[bit // 8] ^= 1 << bit % 8
        _replace(store, key, bytes(changed))
        _refused(backup, target, key)
        _replace(store, key, whole)


def test_two_parts_swapped(backup: Backup, target: str) -> None:
    store = backup.repository.store
    one, other = [part for table in backup.manifest.tables for part in table.parts][-2:]
    first, second = store.get(one.key), store.get(other.key)
    _replace(store, one.key, second)
    _replace(store, other.key, first)
    message = _refused(backup, target, one.key)
    assert len(first) == len(second) or other.key in message


def test_a_part_of_another_repository(backup: Backup, repository: Repository, target: str) -> None:
    """Of the same table, made of the same rows, and all the same not what was stored."""
    foreign = back_up(repository, backup.source, level=9)
    part = _last_part(backup)
    theirs = [part for table in foreign.tables for part in table.parts][-1]
    assert theirs.plain_sha256 == part.plain_sha256
    _replace(backup.repository.store, part.key, repository.store.get(theirs.key))
    _refused(backup, target, part.key)


def test_missing(backup: Backup, target: str) -> None:
    keys = sorted(backup.manifest.objects())
    for key in keys[:5]:
        backup.repository.store.delete(key)
    message = _refused(backup, target, "is missing")
    assert sum(key in message for key in keys) == 3
    assert "and 2 more" in message


class _Meddled:
    """A store whose object changes after it was looked up."""

    def __init__(self, store: Store, meddle: Callable[[Store], None]) -> None:
        self._store = store
        self._meddle: Callable[[Store], None] | None = meddle

    def __getattr__(self, name: str) -> object:
        if name == "stream" and self._meddle:
            meddle, self._meddle = self._meddle, None
            meddle(self._store)
        return getattr(self._store, name)


@pytest.mark.parametrize("damage", [*ANOTHER_SIZE, "missing"])
def test_damage_after_the_objects_were_looked_up(backup: Backup, target: str, damage: str) -> None:
    part = _last_part(backup)

    def meddle(store: Store) -> None:
        stored = store.get(part.key)
        store.delete(part.key)
        if damage != "missing":
            other = store.get(backup.manifest.tables[0].parts[0].key)
            store.put(part.key, ANOTHER_SIZE[damage](stored, other))

    backup.repository.store = _Meddled(backup.repository.store, meddle)  # type: ignore[assignment]
    _refused(backup, target, part.key)


def _with_part(backup: Backup, part: PartEntry, **changes: object) -> Backup:
    """A manifest that says something else of one part."""
    tables = tuple(
        table.model_copy(
            update={
                "parts": tuple(
                    p.model_copy(update=changes) if p is part else p for p in table.parts
                )
            }
        )
        for table in backup.manifest.tables
    )
    return replace(backup, manifest=backup.manifest.model_copy(update={"tables": tables}))


def _with_content(backup: Backup, plain: bytes, **changes: object) -> tuple[Backup, str]:
    """A manifest and a part that agree on the stored bytes, and not on what is in them."""
    part = _last_part(backup)
    stored = compressed(document(plain), 3).data
    digest = sha256(stored).hexdigest()
    key = part.key.replace(part.sha256, digest)
    backup.repository.store.put(key, stored)
    changed = _with_part(backup, part, key=key, sha256=digest, stored_bytes=len(stored), **changes)
    return changed, key


def test_a_content_that_is_not_the_manifests(backup: Backup, target: str) -> None:
    part = _last_part(backup)
    changed, key = _with_content(backup, b" " * part.plain_bytes)
    _refused(changed, target, key)


def test_a_bomb(backup: Backup, target: str) -> None:
    changed, key = _with_content(backup, b"\n" * (64 << 20))
    assert "more than" in _refused(changed, target, key)


def test_a_part_with_fewer_rows(backup: Backup, target: str) -> None:
    part = _last_part(backup)
    changed = _with_part(backup, part, rows=part.rows + 1)
    assert f"{part.rows + 1} rows" in _refused(changed, target, part.key)


def test_a_part_of_another_table(backup: Backup, target: str) -> None:
    plain = b'{"other":"secret"}\n'
    changed, key = _with_content(
        backup, plain, plain_sha256=sha256(plain).hexdigest(), plain_bytes=len(plain), rows=1
    )
    assert "secret" not in _refused(changed, target, key)


def test_a_table_with_fewer_rows_than_were_counted(backup: Backup, target: str) -> None:
    tables = tuple(
        table.model_copy(update={"rows": table.rows + (table.name.name == "notes")})
        for table in backup.manifest.tables
    )
    manifest = backup.manifest.model_copy(update={"tables": tables})
    with pytest.raises(IntegrityError, match=r"public\.notes has 20 rows .* counted 21"):
        restore(backup.repository, manifest, target)
    assert _is_untouched(target)


class _Flaky:
    """A store that cannot be reached for some reads."""

    def __init__(self, store: Store, failures: int) -> None:
        self._store = store
        self.failures = failures
        self.reads = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def stream(self, key: str) -> object:
        self.reads += 1
        if self.reads <= self.failures:
            raise StoreUnavailable("The store is busy.", key=key)
        return self._store.stream(key)


@pytest.mark.parametrize(("failures", "comes_back"), [(2, True), (10**6, False)])
def test_a_store_that_cannot_be_reached_is_tried_again_but_not_for_ever(
    backup: Backup, target: str, failures: int, comes_back: bool
) -> None:
    flaky = _Flaky(backup.repository.store, failures)
    backup.repository.store = flaky  # type: ignore[assignment]
    # The parts, and the index, which is held against its digest first.
    reads = 1 + sum(len(table.parts) for table in backup.manifest.tables)
    error: ConvaultError | None = None
    try:
        restore(backup.repository, backup.manifest, target)
    except StoreUnavailable as caught:
        error = caught
    assert (error is None) is comes_back
    assert flaky.reads == (reads + failures if comes_back else 4)
    assert _is_untouched(target) is not comes_back


@pytest.mark.parametrize("damage", ["bit", "swapped", "half", "one byte", "empty"])
def test_every_object_beside_the_parts(backup: Backup, target: str, damage: str) -> None:
    """README.txt, schema.sql and the index."""
    store, manifest = backup.repository.store, backup.manifest
    members = write_members(
        backup.repository, manifest.backup_id, facts=manifest.source,
        dataset=Dataset(manifest.root, (), ()), options=BackupOptions(),
        statements=manifest.statements,
    )  # fmt: skip
    manifest = manifest.model_copy(update={"members": members})
    backup = replace(backup, manifest=manifest)
    parts = {part.key for table in manifest.tables for part in table.parts}
    beside = sorted(manifest.objects().keys() - parts)
    assert {key.rpartition("/")[2].partition(".")[2] for key in beside} >= {"sql", "txt"}
    assert manifest.index is not None
    assert manifest.index.key in beside
    for number, key in enumerate(beside):
        whole = store.get(key)
        flipped = bytearray(whole)
        bit = random.Random(key).randrange(8 * len(whole))
        flipped[bit // 8] ^= 1 << bit % 8
        other = store.get(beside[number - 1])
        # The other one's bytes, also where its size is the same: that is what a digest is for.
        swapped = (other * len(whole))[: len(whole)]
        changed = {
            "bit": bytes(flipped), "swapped": swapped, "half": whole[: len(whole) // 2],
            "one byte": whole[:1], "empty": b"",
        }[damage]  # fmt: skip
        _replace(store, key, changed)
        _refused(backup, target, key)
        _replace(store, key, whole)
    restore(backup.repository, manifest, target)
