"""Identity files: made once, for their owner alone; and what is wrong with one that is not used."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest

from convault.encryption import age, identities
from convault.errors import (
    ConfigurationError,
    ConvaultError,
    IdentityMissing,
    IdentityUnusable,
    WrongPassphrase,
)


def nobody(path: Path) -> str:
    raise AssertionError("nobody should be asked")


def private(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


@pytest.mark.usefixtures("age_program")
def test_a_new_one_is_for_its_owner_and_the_real_age_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    recipient = identities.write_new(path, label="escola\nAGE-SECRET-KEY-1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"# public key: {recipient}\n" in path.read_text()
    assert "# label: escola AGE-SECRET-KEY-1\n" in path.read_text()
    stored = age.encrypt(b"x", [recipient])
    done = subprocess.run(["age", "-d", "-i", path], input=stored, capture_output=True, check=True)
    assert done.stdout == b"x"
    (identity,) = identities.read_all([path, path], nobody)
    assert identity.recipient == recipient
    assert age.decrypt(stored, [identity]) == b"x"


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    there = private(tmp_path / "there", b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (there, tmp_path / "link", tmp_path):
        with pytest.raises(ConfigurationError, match="there already"):
            identities.write_new(path)
    assert there.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ConfigurationError, match="does not exist"):
        identities.write_new(tmp_path / "no" / "key")


def test_the_real_keygen_makes_one_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    done = subprocess.run(["age-keygen", "-o", path], capture_output=True, check=True, text=True)
    (identity,) = identities.read_all([path], nobody)
    assert identity.recipient in done.stderr


@pytest.mark.long
def test_one_with_a_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    recipient = identities.write_new(path, passphrase="abre-te sésamo")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert recipient.encode() not in path.read_bytes()
    (identity,) = identities.read_all([path], lambda asked: {path: "abre-te sésamo"}[asked])
    assert identity.recipient == recipient
    with pytest.raises(
        WrongPassphrase, match=r"not the passphrase of the identity file .*key\.txt"
    ):
        identities.read_all([path], lambda asked: "abre-te")
    private(path, path.read_bytes()[:-1])
    with pytest.raises(IdentityUnusable, match="is damaged: take a copy"):
        identities.read_all([path], lambda asked: "abre-te sésamo")


def test_one_that_is_lost(tmp_path: Path) -> None:
    with pytest.raises(IdentityMissing, match=r"lost\.txt is not there.*cannot be read by anybody"):
        identities.read_all([tmp_path / "lost.txt"], nobody)


SECRET = age.new_identity()[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# only a comment\n",
        b"age1q47k6a6v9qh08s4gqlkjr4lnsam7q9utde8wkd424gapdwshkess0k4kfu\n",
        SECRET[:-1].encode(),
        f"{SECRET}\nand something else".encode(),
        b"\xff\xfe",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n",
    ],
)
def test_what_is_no_identity_file_is_refused_and_not_repeated(
    tmp_path: Path, content: bytes
) -> None:
    path = private(tmp_path / "key.txt", content)
    with pytest.raises(IdentityUnusable, match="holds no secret key of age") as caught:
        identities.read_all([path], nobody)
    assert not re.search("AGE-SECRET-KEY-1[^)]", caught.value.message)


def test_one_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.txt"
    identities.write_new(path)
    path.chmod(0o640)
    with pytest.raises(IdentityUnusable, match="chmod 600"):
        identities.read_all([path], nobody)


def test_what_cannot_be_one(tmp_path: Path) -> None:
    with pytest.raises(IdentityUnusable):
        identities.read_all([tmp_path], nobody)
    large = private(tmp_path / "large", b"#" * (identities.MAX_BYTES + 1))
    with pytest.raises(IdentityUnusable, match="too large"):
        identities.read_all([large], nobody)


def test_a_passphrase_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = private(tmp_path / "pass", "maçã verde\r\nmore\n".encode())
    assert identities.read_passphrase(path) == "maçã verde"
    for content in (b"", b"\n", b"\xff"):
        with pytest.raises(ConfigurationError):
            identities.read_passphrase(private(path, content))
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        identities.read_passphrase(path)
    with pytest.raises(ConvaultError, match="is not there"):
        identities.read_passphrase(tmp_path / "gone")
