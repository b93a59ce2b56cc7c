"""Whatever happens to an object: it is found, named, and so are the backups it touches."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from convault.errors import VerificationFailed
from convault.manifest import Manifest
from convault.verification.findings import Finding, FindingKind, Verification
from convault.verification.reading import Subset
from convault.verification.verifying import concluded, read_some, require_sound, survey
from tests.verification.conftest import Kept

SAME_SIZE: dict[str, Callable[[bytes], bytes]] = {
    "first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "last bit": lambda data: data[:-1] + bytes([data[-1] ^ 128]),
    "some bit": lambda data: _flipped(data, random.Random(data).randrange(8 * len(data))),
    "zeros": lambda data: bytes(len(data)),
}
OTHER_SIZE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "all but one byte": lambda data: data[:-1],
    "one byte more": lambda data: data + b"\0",
}


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def looked_at(kept: Kept, *, read: bool) -> Verification:
    """Without asking the source what could be repaired."""
    repository, catalog = kept.installation.repository, kept.installation.catalog
    seen = survey(repository, catalog)
    if read:
        read_some(repository, catalog, seen, Subset.parse("all"))
    return concluded(repository, catalog, seen)


def holders(kept: Kept, key: str) -> set[object]:
    """Backups that need the object."""
    if key.endswith("datapackage.json"):
        return {kept.first.backup_id}
    return {m.backup_id for m in (kept.first, kept.second) if key in m.objects()}


def found_alone(kept: Kept, key: str, kind: FindingKind, *, read: bool) -> Finding:
    """The one thing that a verification finds is the matter with `key`."""
    found = looked_at(kept, read=read)
    hurting = [finding for finding in found.findings if finding.hurts]
    assert [(finding.kind, finding.key) for finding in hurting] == [(kind, key)]
    assert set(hurting[0].backups) == holders(kept, key)
    with pytest.raises(VerificationFailed) as failure:
        require_sound(found)
    assert key in failure.value.message
    return hurting[0]


def test_nothing_is_found_where_nothing_is(kept: Kept) -> None:
    shared = kept.first.objects().keys() & kept.second.objects().keys()
    assert len(shared) > 3
    found = looked_at(kept, read=True)
    assert (found.findings, found.sound) == ((), True)
    objects = kept.first.objects() | kept.second.objects()
    assert (found.read_objects, found.read_bytes) == (len(objects), sum(objects.values()))
    assert found.objects == len(objects) + 2
    require_sound(found)


def test_a_flipped_bit_in_one_object_after_the_other(kept: Kept) -> None:
    for key in kept.keys:
        whole = kept.read(key)
        kept.write(key, SAME_SIZE["some bit"](whole))
        found_alone(kept, key, FindingKind.DAMAGED, read=True)
        kept.write(key, whole)


@pytest.mark.parametrize("damage", SAME_SIZE.values(), ids=SAME_SIZE)
def test_other_bytes_of_the_same_size_in_every_object(
    kept: Kept, damage: Callable[[bytes], bytes]
) -> None:
    every_object_is_named(kept, damage, read=True)


@pytest.mark.parametrize("damage", OTHER_SIZE.values(), ids=OTHER_SIZE)
def test_another_size_shows_without_reading(kept: Kept, damage: Callable[[bytes], bytes]) -> None:
    every_object_is_named(kept, damage, read=False)


def every_object_is_named(kept: Kept, damage: Callable[[bytes], bytes], *, read: bool) -> None:
    """The manifest by itself, then everything that it names."""
    manifest, *keys = kept.keys
    whole = kept.read(manifest)
    kept.write(manifest, damage(whole))
    found_alone(kept, manifest, FindingKind.DAMAGED, read=read)
    kept.write(manifest, whole)
    for key in keys:
        kept.write(key, damage(kept.read(key)))
    found = {f.key: (f.kind, set(f.backups)) for f in looked_at(kept, read=read).findings}
    assert found == {key: (FindingKind.DAMAGED, holders(kept, key)) for key in keys}


def test_each_object_deleted_shows_without_reading(kept: Kept) -> None:
    manifest, *keys = kept.keys
    whole = kept.read(manifest)
    kept.delete(manifest)
    found_alone(kept, manifest, FindingKind.MISSING, read=False)
    kept.write(manifest, whole)
    for key in keys:
        kept.delete(key)
    found = {f.key: (f.kind, set(f.backups)) for f in looked_at(kept, read=False).findings}
    assert found == {key: (FindingKind.MISSING, holders(kept, key)) for key in keys}


def test_two_objects_swapped(kept: Kept) -> None:
    keys = kept.keys
    for one, other in zip(keys[::2], keys[1::2], strict=False):
        first, second = kept.read(one), kept.read(other)
        kept.write(one, second)
        kept.write(other, first)
        found = [finding.key for finding in looked_at(kept, read=True).findings if finding.hurts]
        assert sorted(found) == sorted({one, other})
        kept.write(one, first)
        kept.write(other, second)


def test_objects_of_another_repository(kept: Kept, another: tuple[Path, Manifest]) -> None:
    folder, foreign = another
    manifest, *keys = kept.keys
    whole = kept.read(manifest)
    theirs = kept.installation.repository.manifest_key(foreign.backup_id)
    kept.write(manifest, (folder / theirs).read_bytes())
    found = found_alone(kept, manifest, FindingKind.DAMAGED, read=False)
    assert "it was copied or renamed" in found.reason
    kept.write(manifest, whole)
    replaced = set()
    for key in keys:
        kind = key.rpartition("/")[0] if key.startswith("data/") else key.rpartition("/")[2]
        source = next(other for other in foreign.objects() if kind in other)
        other = (folder / source).read_bytes()
        if other != kept.read(key):
            kept.write(key, other)
            replaced.add(key)
    assert len(replaced) > 3
    assert {f.key for f in looked_at(kept, read=True).findings if f.hurts} == replaced


def test_what_belongs_to_nobody_harms_nobody(kept: Kept) -> None:
    sha = "0" * 64
    orphans = [f"data/messages/{sha}.ndjson.zst", f"data/other/messages/{sha}.parquet",
               "backups/00000000-0000-4000-8000-000000000000/README.txt"]  # fmt: skip
    unknown = ["data/notes.txt", "data/messages/x.ndjson", "stray", "backups/x/README.txt"]
    for key in (*orphans, *unknown, f"damaged/data/messages/{sha}.ndjson.zst/{sha}"):
        (kept.store / key).parent.mkdir(parents=True, exist_ok=True)
        kept.write(key, b"?")
    found = looked_at(kept, read=True)
    assert found.sound
    by_kind = {kind: [f.key for f in found.findings if f.kind is kind] for kind in FindingKind}
    assert by_kind == {
        FindingKind.DAMAGED: [],
        FindingKind.MISSING: [],
        FindingKind.ORPHANED: sorted(orphans),
        FindingKind.UNKNOWN: sorted(unknown),
    }
    assert found.set_aside == 1


def test_parts_of_a_backup_that_cannot_be_read_are_not_called_orphans_for_sure(kept: Kept) -> None:
    kept.write(kept.keys[0], b"{")
    found = looked_at(kept, read=False)
    orphans = [f for f in found.findings if f.kind is FindingKind.ORPHANED]
    only_first = kept.first.objects().keys() - kept.second.objects().keys()
    parts = {key for key in only_first if key.startswith("data/")}
    assert {finding.key for finding in orphans} == parts
    assert all("one that cannot be read may" in finding.reason for finding in orphans)


def test_one_backup_alone_is_looked_at_when_asked(kept: Kept) -> None:
    repository, catalog = kept.installation.repository, kept.installation.catalog
    own = next(key for key in kept.first.objects() if key not in kept.second.objects())
    kept.delete(own)
    assert survey(repository, catalog, kept.second.backup_id).findings == []
    assert [f.key for f in survey(repository, catalog, kept.first.backup_id).findings] == [own]
