"""age files: the real `age` opens ours, ours opens its; and what is wrong with a damaged one."""

from __future__ import annotations

import base64
import os
import pty
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convault.encryption import age
from convault.encryption.objects import Encryptor
from convault.errors import ConfigurationError, EncryptionError
from tests.encryption.keys import flipped, header_bytes, new_key

SECRET, ALICE = new_key()
_, BOB = new_key()
FILE = age.encrypt(b"olho" * 30_000, [ALICE.recipient])
"""of two chunks of age"""


@settings(max_examples=50)
@given(st.binary(max_size=200_000))
def test_what_was_encrypted_to_several_opens_with_each(data: bytes) -> None:
    stored = age.encrypt(data, [ALICE.recipient, BOB.recipient])
    assert age.decrypt(stored, [ALICE]) == age.decrypt(stored, [BOB]) == data


def test_the_same_bytes_are_encrypted_otherwise_each_time() -> None:
    assert age.encrypt(b"x", [ALICE.recipient]) != age.encrypt(b"x", [ALICE.recipient])


@pytest.mark.usefixtures("age_program")
def test_the_real_age_opens_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    done = subprocess.run(
        ["age", "-d", "-i", tmp_path / "key"], input=FILE, capture_output=True, check=True
    )
    assert done.stdout == b"olho" * 30_000


@pytest.mark.usefixtures("age_program")
def test_opens_what_the_real_age_made() -> None:
    for form in ([], ["-a"]):
        done = subprocess.run(
            ["age", "-r", ALICE.recipient, *form], input=b"x" * 70_000,
            capture_output=True, check=True,
        )  # fmt: skip
        assert age.decrypt(done.stdout, [BOB, ALICE]) == b"x" * 70_000


def test_another_key_does_not_open_it() -> None:
    for identities in ([BOB], []):
        with pytest.raises(age.NoMatch):
            age.decrypt(FILE, identities)


def test_a_damaged_header_and_a_damaged_body_are_told_apart() -> None:
    header = header_bytes(FILE)
    for at in range(header):
        with pytest.raises((age.BadHeader, age.NoMatch)):
            age.decrypt(flipped(FILE, at), [ALICE])
    for at in (header, header + 16, header + 70_000, len(FILE) - 1):
        with pytest.raises(age.BadBody):
            age.decrypt(flipped(FILE, at), [ALICE])
    for end in (0, 1, 30, header - 1):
        with pytest.raises(age.BadHeader):
            age.decrypt(FILE[:end], [ALICE])
    for data in (FILE[:-1], FILE[: header + 70_000], FILE + b"x", FILE + FILE):
        with pytest.raises(age.BadBody):
            age.decrypt(data, [ALICE])


@settings(max_examples=100)
@given(st.integers(0, len(FILE) - 1), st.binary(max_size=5))
def test_no_change_yields_other_bytes(at: int, new: bytes) -> None:
    changed = FILE[:at] + new + FILE[at + 1 :]
    try:
        assert age.decrypt(changed, [ALICE]) == b"olho" * 30_000
    except age.CannotOpen:
        return


@pytest.mark.parametrize(
    "text",
    ["", "age1", ALICE.recipient[:-1], ALICE.recipient.upper(), "ssh-ed25519 AAAA", "x" * 62],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no public key of age"):
        age.check_recipient(text)


def test_a_mistyped_public_key_is_noticed() -> None:
    for at in range(4, 62):
        letter = "q" if ALICE.recipient[at] != "q" else "p"
        with pytest.raises(ConfigurationError, match="checksum"):
            age.check_recipient(ALICE.recipient[:at] + letter + ALICE.recipient[at + 1 :])
    assert age.check_recipient(f" {ALICE.recipient}\n") == ALICE.recipient


def test_a_secret_key_in_its_place_is_refused_and_not_repeated() -> None:
    for text in (SECRET, SECRET.lower()):
        with pytest.raises(ConfigurationError, match="a secret key") as caught:
            age.check_recipient(text)
        assert text not in caught.value.message


def test_no_repr_shows_a_secret() -> None:
    assert SECRET not in repr(ALICE)
    assert ALICE.recipient in repr(ALICE)


@pytest.mark.usefixtures("age_program")
def test_a_passphrase_is_scrypts_and_a_wrong_one_is_told() -> None:
    """Both ways with the real `age -p`, which wants a terminal; each takes a second, on purpose."""
    ours = age.encrypt_with_passphrase(b"secret", "maçã verde")
    assert ours.startswith(b"age-encryption.org/v1\n-> scrypt ")
    assert _at_a_terminal(["age", "-d"], ours, "maçã verde") == b"secret"
    with pytest.raises(age.BadPassphrase):
        age.decrypt_with_passphrase(ours, "maçã")
    theirs = _at_a_terminal(["age", "-p"], b"other", "maçã verde", "maçã verde")
    assert age.decrypt_with_passphrase(theirs, "maçã verde") == b"other"
    with pytest.raises(age.NoMatch):
        age.decrypt_with_passphrase(FILE, "maçã verde")


# Headers that somebody forged: reading one takes time by the square of its size.


@pytest.mark.parametrize("end", [b"", b"--- " + b"A" * 43 + b"\n" + bytes(32)])
def test_a_header_of_many_recipients_is_refused_at_once(end: bytes) -> None:
    stanza = b"-> X25519 " + b"A" * 43 + b"\n" + b"B" * 43 + b"\n"
    forged = b"age-encryption.org/v1\n" + stanza * 20_000 + end
    armoured = b"-----BEGIN AGE ENCRYPTED FILE-----\n" + base64.encodebytes(forged)
    began = time.thread_time()  # all that it does; what else the machine does is none of it
    for data in (forged, armoured):
        with pytest.raises(age.BadHeader):
            age.decrypt(data, [ALICE])
        with pytest.raises(age.BadHeader):
            age.decrypt_with_passphrase(data, "x")
    assert time.thread_time() - began < 5


def test_as_many_recipients_as_may_be_can_be_read() -> None:
    many = [ALICE.recipient] * age.MAX_RECIPIENTS
    assert age.decrypt(age.encrypt(b"x", many), [ALICE]) == b"x"
    keys = [new_key()[1].recipient for _ in range(age.MAX_RECIPIENTS + 1)]
    assert len(Encryptor(keys[1:]).recipients) == age.MAX_RECIPIENTS
    with pytest.raises(EncryptionError, match="at most 100"):
        Encryptor(keys)


@pytest.mark.parametrize("armoured", [False, True])
def test_more_work_than_any_program_asks_for_is_not_begun(armoured: bool) -> None:
    # 2^23 takes 8 GiB and a minute.
    stanza = b"-> scrypt " + b"A" * 22 + b" 23\n" + b"B" * 43 + b"\n"
    data = b"age-encryption.org/v1\n" + stanza + b"--- " + b"A" * 43 + b"\n" + bytes(32)
    if armoured:
        data = b"-----BEGIN AGE ENCRYPTED FILE-----\n" + base64.encodebytes(data)
    with pytest.raises(age.TooMuchWork):
        age.decrypt_with_passphrase(data, "x")


def _at_a_terminal(command: list[str], data: bytes, *typed: str) -> bytes:
    """stdout of a program that asks for a passphrase."""
    reading, writing = os.pipe()
    child, terminal = pty.fork()
    if child == 0:
        source = os.memfd_create("in")
        os.write(source, data)
        os.lseek(source, 0, os.SEEK_SET)
        os.dup2(source, 0)
        os.dup2(writing, 1)
        os.execvp(command[0], command)
    os.close(writing)
    for line in typed:
        while not os.read(terminal, 1000).rstrip().endswith(b":"):
            pass
        os.write(terminal, line.encode() + b"\n")
    found = b""
    while piece := os.read(reading, 1000):
        found += piece
    os.close(reading)
    assert os.waitpid(child, 0)[1] == 0
    os.close(terminal)
    return found
