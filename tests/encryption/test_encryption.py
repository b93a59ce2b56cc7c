"""Encrypted backups: what opens them, what does not, and what each kind of damage is called."""

from __future__ import annotations

import base64
import hmac
import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convault.encryption import age
from convault.encryption.objects import Encryptor, unlocked
from convault.errors import (
    DamagedHeader,
    EncryptionError,
    IdentityNeeded,
    IntegrityError,
    RepositoryError,
    WrongIdentity,
)
from convault.loading import read_part
from convault.manifest import Manifest
from tests.encryption.keys import flipped, header_bytes, new_key
from tests.handmade import CONVERSATIONS, new_backup, new_repository, rows

_, ALICE = new_key()
_, BOB = new_key()
_, EVE = new_key()
REPOSITORY = new_repository()
ENCRYPTOR = Encryptor([ALICE.recipient, BOB.recipient])
MANIFEST = new_backup(REPOSITORY, encryptor=ENCRYPTOR)
STORE = REPOSITORY.store
PART = MANIFEST.tables[1].parts[0]


@settings(max_examples=20)
@given(st.integers(0, 400), st.sampled_from([0, 1, 3]))
def test_every_part_opens_with_each_of_the_recipients(count: int, level: int) -> None:
    repository = new_repository()
    plain = rows(0, count)
    manifest = new_backup(repository, {CONVERSATIONS: [plain]}, level=level, encryptor=ENCRYPTOR)
    (part,) = manifest.tables[0].parts
    for identity in (ALICE, BOB):
        opener = unlocked(manifest, [EVE, identity])
        assert read_part(repository.store, part, opener) == plain


def test_no_object_holds_a_row_and_no_digest_of_one_stands_in_the_manifest() -> None:
    for info in STORE.list("data/"):
        assert info.key.endswith(".ndjson.zst.age")
        assert STORE.get(info.key).startswith(b"age-encryption.org/v1\n")
    plain = rows(0, 300)
    text = MANIFEST.to_bytes().decode()
    assert sha256(plain).hexdigest() not in text
    key = age.decrypt(base64.b64decode(MANIFEST.encryption.digest_keys[0].sealed), [BOB])  # type: ignore[union-attr]
    assert hmac.digest(key, plain, "sha256").hex() == PART.plain_sha256


def test_the_manifest_says_to_whom_and_that_only_whole_parts_can_be_fetched() -> None:
    package = json.loads(MANIFEST.to_bytes())
    said = package["convault"]["encryption"]
    assert said["scheme"] == "age"
    assert said["access"] == "part"
    assert said["recipients"] == sorted([ALICE.recipient, BOB.recipient])
    part = package["convault"]["tables"][1]["parts"][0]
    assert part["digest_key"] == said["digest_keys"][0]["id"]
    assert package["resources"][1]["encryption"] == "age"


def test_two_backups_of_the_same_rows_share_nothing() -> None:
    again = new_backup(new_repository(), encryptor=Encryptor([ALICE.recipient]))
    parts = [p for m in (MANIFEST, again) for t in m.tables for p in t.parts]
    assert len({p.key for p in parts}) == len(parts)
    assert {p.plain_sha256 for t in MANIFEST.tables for p in t.parts}.isdisjoint(
        p.plain_sha256 for t in again.tables for p in t.parts
    )


def test_a_manifest_is_built_the_same_however_often() -> None:
    assert ENCRYPTOR.facts == ENCRYPTOR.facts
    assert ENCRYPTOR.encrypt_once(b"index") == ENCRYPTOR.encrypt_once(b"index")
    assert ENCRYPTOR.encrypt_once(b"index") != ENCRYPTOR.encrypt_once(b"other")


def test_a_plain_backup_needs_no_identity() -> None:
    repository = new_repository()
    manifest = new_backup(repository, {CONVERSATIONS: [rows(0, 3)]})
    opener = unlocked(manifest, [])
    assert read_part(repository.store, manifest.tables[0].parts[0], opener) == rows(0, 3)


# What does not open it


def test_without_a_key_it_names_whose_are_needed() -> None:
    with pytest.raises(IdentityNeeded) as caught:
        unlocked(MANIFEST, [])
    for wanted in (ALICE.recipient, BOB.recipient, "--identity", "CONVAULT_IDENTITY_FILE"):
        assert wanted in caught.value.message


def test_with_a_wrong_key_it_names_that_and_those_that_are_needed() -> None:
    with pytest.raises(WrongIdentity) as caught:
        unlocked(MANIFEST, [EVE])
    for wanted in (EVE.recipient, ALICE.recipient, BOB.recipient):
        assert wanted in caught.value.message


def test_nobody_to_encrypt_to() -> None:
    with pytest.raises(EncryptionError, match="convault keys add"):
        Encryptor([])


# Damage


def damaged(data: bytes) -> str:
    """What reading the part says when `data` is in its place."""
    repository = new_repository()
    repository.store.put(PART.key, data)
    with pytest.raises(IntegrityError) as caught:
        read_part(repository.store, PART, unlocked(MANIFEST, [ALICE]))
    assert PART.key in caught.value.message
    return caught.value.code


def test_a_damaged_header_is_told_from_a_damaged_body() -> None:
    stored = STORE.get(PART.key)
    header = header_bytes(stored)
    # A byte of what is for somebody else may be changed and yet open: then the digest tells.
    assert {damaged(flipped(stored, at)) for at in range(0, header, 9)} == {"damaged-header"}
    for at in (header, header + 40, len(stored) - 1):
        assert damaged(flipped(stored, at)) == "integrity"
    assert damaged(stored[: header - 5]) == "damaged-header"
    assert damaged(stored[:-1]) == damaged(stored + b"x") == "integrity"


def test_another_age_file_in_its_place_is_not_taken() -> None:
    other = MANIFEST.tables[0].parts[0]
    assert damaged(STORE.get(other.key)) == "integrity"
    assert damaged(age.encrypt(b"forged", [ALICE.recipient])) == "integrity"
    assert damaged(age.encrypt(b"forged", [EVE.recipient])) == "damaged-header"


def changed(change: str, value: object) -> Manifest:
    content = json.loads(MANIFEST.to_bytes())
    place = content["convault"]["encryption"]["digest_keys"][0]
    place[change] = value
    return Manifest.from_bytes(json.dumps(content).encode(), where="here")


def test_a_damaged_digest_key_is_told_from_a_wrong_identity() -> None:
    sealed = base64.b64decode(ENCRYPTOR.digest_key.sealed)
    for at in range(0, len(sealed), 5):
        broken = base64.b64encode(flipped(sealed, at)).decode()
        kind = DamagedHeader if at < header_bytes(sealed) else IntegrityError
        with pytest.raises(kind, match="digest key"):
            unlocked(changed("sealed", broken), [ALICE, BOB])
    for broken in (
        "",
        "no base64!",
        base64.b64encode(age.encrypt(b"", [ALICE.recipient])).decode(),
    ):
        with pytest.raises(IntegrityError, match="digest key"):
            unlocked(changed("sealed", broken), [ALICE])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("encryption", "scheme"), "rot13"),
        (("encryption", "access"), "frame"),
        (("encryption", "recipients"), []),
        (("encryption", "recipients"), ["age1"]),
        (("encryption", "digest_keys"), []),
        (("encryption", "digest_keys", 0, "recipients"), []),
        (("encryption",), None),
        (("tables", 0, "parts", 0, "digest_key"), None),
        (("tables", 0, "parts", 0, "digest_key"), "0" * 16),
        (("revision",), 0),
        (("revision",), 10_000),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    path: tuple[str, ...], value: object
) -> None:
    content = json.loads(MANIFEST.to_bytes())
    place = content["convault"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(RepositoryError, match="is malformed"):
        Manifest.from_bytes(json.dumps(content).encode(), where="here")


def test_no_repr_shows_a_digest_key() -> None:
    for thing in (ENCRYPTOR, unlocked(MANIFEST, [ALICE])):
        assert ENCRYPTOR.secret.hex() not in repr(thing)
        assert repr(ENCRYPTOR.secret) not in repr(thing)
