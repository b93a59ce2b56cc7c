"""The signature of a manifest: signed, unsigned, wrong, and no key here to check with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convault.archive.composed import Archive
from convault.errors import ConfigurationError, RepositoryError, SignatureError
from convault.manifest import Manifest
from convault.signing.signature import Signature, SigningKeys, judged, new_key
from tests.handmade import BACKUP, CONVERSATIONS, new_backup, new_repository, rows

SECRETS = [secrets.token_bytes(32), secrets.token_bytes(48)]
KEYS = SigningKeys((SECRETS[0],))
OTHER = SigningKeys((SECRETS[1],))
REPOSITORY = new_repository()
MANIFEST = new_backup(REPOSITORY, {CONVERSATIONS: [rows(0, 3)]})
DATA = KEYS.sign(MANIFEST.to_bytes())


def test_a_manifest_is_signed_unsigned_wrong_or_cannot_be_checked() -> None:
    assert KEYS.check(DATA) is Signature.SIGNED
    assert KEYS.check(MANIFEST.to_bytes()) is Signature.UNSIGNED
    assert OTHER.check(DATA) is Signature.WRONG
    assert SigningKeys().check(DATA) is Signature.UNCHECKED
    assert SigningKeys().check(MANIFEST.to_bytes()) is Signature.UNSIGNED


def test_without_a_key_a_manifest_stays_as_it_is() -> None:
    assert SigningKeys().sign(MANIFEST.to_bytes()) == MANIFEST.to_bytes()


def test_a_signed_manifest_is_read_as_an_unsigned_one() -> None:
    assert Manifest.from_bytes(DATA, where="here") == MANIFEST
    assert list(json.loads(DATA))[-1] == "signature"


def test_a_few_lines_of_standard_library_check_it() -> None:
    """As docs/format.md tells it."""
    value = json.loads(DATA)["signature"]["value"]
    end = b'"\n }\n}\n'
    assert DATA.endswith(value.encode() + end)
    zeroed = DATA[: -len(end) - 64] + b"0" * 64 + end
    assert hmac.new(SECRETS[0], zeroed, hashlib.sha256).hexdigest() == value


def test_the_same_manifest_and_key_give_the_same_bytes() -> None:
    assert KEYS.sign(MANIFEST.to_bytes()) == DATA


def test_no_byte_can_be_changed() -> None:
    """Each byte of it, each to two others: never signed, and never unsigned either."""
    for at in range(len(DATA)):
        for flipped in (DATA[at] ^ 1, DATA[at] ^ 0x20):
            changed = DATA[:at] + bytes([flipped]) + DATA[at + 1 :]
            assert KEYS.check(changed) is Signature.WRONG, at


@settings(max_examples=200)
@given(st.integers(0, len(DATA)), st.integers(0, 40), st.binary(max_size=40))
def test_no_bytes_can_be_replaced_added_or_cut_out(at: int, cut: int, new: bytes) -> None:
    changed = DATA[:at] + new + DATA[at + cut :]
    if changed != DATA:
        assert KEYS.check(changed) is not Signature.SIGNED


@given(st.binary(max_size=300))
def test_anything_at_all_is_judged(data: bytes) -> None:
    assert KEYS.check(data) is Signature.WRONG


def test_whoever_cuts_the_signature_off_has_an_unsigned_manifest() -> None:
    assert KEYS.check(MANIFEST.to_bytes()) is Signature.UNSIGNED


def test_a_signature_of_another_manifest_is_wrong() -> None:
    other = new_backup(new_repository(), {CONVERSATIONS: [rows(0, 4)]}).to_bytes()
    tail = DATA[len(MANIFEST.to_bytes()) - 3 :]
    assert KEYS.check(other[:-3] + tail) is Signature.WRONG


# Keys


@pytest.mark.parametrize("level", [0, 1])
def test_the_first_key_signs_and_all_of_them_prove(level: int) -> None:
    both = SigningKeys((SECRETS[1], SECRETS[0]))
    assert both.check(DATA) is Signature.SIGNED
    again = both.sign(MANIFEST.to_bytes())
    assert json.loads(again)["signature"]["key_id"] == both.ids[0] == OTHER.ids[0]
    assert (OTHER.check(again), KEYS.check(again)) == (Signature.SIGNED, Signature.WRONG)


def test_keys_are_hex_or_base64_with_commas_between() -> None:
    base64_ = base64.b64encode(SECRETS[1]).decode()
    url_safe = base64_.replace("+", "-").replace("/", "_").rstrip("=")
    for text in (base64_, url_safe):
        parsed = SigningKeys.parse(f"{SECRETS[0].hex()}, {text}")
        assert parsed.ids == SigningKeys((SECRETS[0], SECRETS[1])).ids
    assert SigningKeys.parse(new_key())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has 0 bytes"),
        ("0123abcd" * 7, "has 28 bytes, and needs at least 32"),
        ("correct horse battery staple!", "neither hex nor base64"),
        ("0" * 64, "repeats itself"),
        ("ab" * 64, "repeats itself"),
        (f"{SECRETS[0].hex()},", "Key 2"),
        (f"{SECRETS[0].hex()},{SECRETS[0].hex()}", "same key twice"),
    ],
)
def test_weak_keys_are_refused_and_never_repeated(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        SigningKeys.parse(text)
    assert not text or text.split(",")[0] not in caught.value.message


def test_a_key_id_tells_nothing_and_shows_in_no_repr() -> None:
    assert re.fullmatch("[0-9a-f]{16}", KEYS.ids[0])
    assert SECRETS[0].hex() not in repr(KEYS)
    assert str(SECRETS[0]) not in repr(KEYS)


# What is done about it


def test_a_wrong_one_is_refused_unless_it_is_trusted() -> None:
    with pytest.raises(SignatureError, match=r"of backup 7 is wrong: it was changed.*--trust"):
        judged(DATA.replace(b"app", b"apq"), KEYS, what="the manifest of backup 7")
    assert judged(DATA.replace(b"app", b"apq"), KEYS, what="x", trust=True) is Signature.WRONG


def test_one_by_an_unknown_key_names_the_key() -> None:
    with pytest.raises(SignatureError, match=f"with the key {KEYS.ids[0]}, which .* add it there"):
        judged(DATA, OTHER, what="it")


def test_the_others_are_answers() -> None:
    assert judged(DATA, KEYS, what="it") is Signature.SIGNED
    assert judged(MANIFEST.to_bytes(), KEYS, what="it") is Signature.UNSIGNED
    assert judged(DATA, SigningKeys(), what="it") is Signature.UNCHECKED


# In a repository


def test_a_repository_stores_it_signed_and_again_with_the_same_bytes() -> None:
    repository = new_repository()
    manifest = new_backup(repository)
    for _ in range(2):
        repository.put_manifest(manifest, KEYS)
    read, stored = repository.stored_manifest(BACKUP)
    assert (read, stored) == (manifest, KEYS.sign(manifest.to_bytes()))
    archive = Archive(repository, BACKUP)
    assert archive.members[0].size == len(stored)
    assert archive.etag == hashlib.sha256(stored).hexdigest()


def test_an_old_revision_in_the_place_of_a_new_one_is_refused() -> None:
    """It is signed, and says of itself which one it is."""
    repository = new_repository()
    manifest = new_backup(repository)
    repository.put_manifest(manifest, KEYS)
    stored = repository.manifest_bytes(BACKUP)
    repository.store.put(repository.manifest_key(BACKUP, 3), stored)
    with pytest.raises(RepositoryError, match="says that it is revision 1"):
        repository.manifest(BACKUP)
