"""age (https://age-encryption.org) on bytes: what `age -d` opens, through pyrage."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyrage
from pyrage import passphrase as _passphrase
from pyrage import x25519

from convault.errors import ConfigurationError

SUFFIX = ".age"
"""how the name of an encrypted object ends"""
MAGIC = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
"""how an age file begins, as bytes and as text"""

MAX_RECIPIENTS = 100
"""of one age file: to read its header takes time that grows with the square of their number, 0.1 s
for so many"""
MAX_HEADER_BYTES = 16 * 1024
"""enough for these"""
_MAX_WORK = 22
"""of scrypt, as a power of two: what the program `age` takes at most; it costs 4 GiB"""
_HEADER_END = b"\n--- "
_WORK = re.compile(rb"^-> scrypt \S+ (\d+)$", re.MULTILINE)

_RECIPIENT = re.compile("age1[02-9ac-hj-np-z]{58}")
_SECRET = re.compile("AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}", re.IGNORECASE)
_NO_MATCH = "No matching keys found"
_BODY = "decryption error"
_WRONG_PASSPHRASE = "Decryption failed"


@dataclass(frozen=True, slots=True)
class Identity:
    """A secret key, which opens what was encrypted to `recipient`."""

    recipient: str
    """its public key, `age1...`"""
    secret: Any = field(repr=False)
    """pyrage's"""


class CannotOpen(Exception):
    """An age file was not opened. Carries which it is, for the caller to say of what."""


class NoMatch(CannotOpen):
    """None of the identities fits, or the lines of the header that would say so are damaged."""


class BadHeader(CannotOpen):
    """The header is cut off, malformed, or does not have its own checksum."""


class BadBody(CannotOpen):
    """The header is right; what follows was changed or cut off."""


class TooMuchWork(CannotOpen):
    """To try a passphrase takes more time and memory than any program asks for."""


class BadPassphrase(CannotOpen):
    """It is not the one."""


def check_recipient(text: str) -> str:
    """`text`, if it is a public key of the kind that encrypts here; ConfigurationError, which never
    repeats what may be a secret key."""
    key = text.strip()
    if _SECRET.search(key):
        raise ConfigurationError(
            "That is a secret key, not a public one. It was not used; as it stood on a command "
            "line, others may have seen it: make a new one with `convault keys new`."
        )
    try:
        if not _RECIPIENT.fullmatch(key):
            raise ConfigurationError(
                "That is no public key of age: it has 62 characters and begins with age1. "
                "`convault keys new` or `age-keygen` makes one; SSH keys are not taken."
            )
        x25519.Recipient.from_str(key)
    except pyrage.RecipientError:
        raise ConfigurationError(
            "That is no public key of age: its checksum is wrong, so a character was lost or "
            "changed. Copy it again."
        ) from None
    return key


def new_identity() -> tuple[str, str]:
    """A new secret key and its public key, as text."""
    made = x25519.Identity.generate()
    return str(made), str(made.to_public())


def identity(secret: str) -> Identity:
    """The identity of a secret key. ValueError, which does not repeat it."""
    try:
        read = x25519.Identity.from_str(secret)
    except pyrage.IdentityError:
        raise ValueError("not a secret key of age") from None
    return Identity(str(read.to_public()), read)


def encrypt(data: bytes, recipients: Sequence[str]) -> bytes:
    """`data` for each of the recipients (`age1...`, one to MAX_RECIPIENTS). Different bytes every
    time."""
    found: bytes = pyrage.encrypt(data, [x25519.Recipient.from_str(key) for key in recipients])
    return found


def decrypt(data: bytes, identities: Sequence[Identity]) -> bytes:
    """What was encrypted to one of the identities. NoMatch, BadHeader, BadBody."""
    check_header(data)
    try:
        found: bytes = pyrage.decrypt(data, [identity.secret for identity in identities])
    except pyrage.DecryptError as error:
        text = str(error)
        if text == _NO_MATCH:
            raise NoMatch from None
        raise (BadBody if text == _BODY else BadHeader) from None
    return found


def encrypt_with_passphrase(data: bytes, passphrase: str) -> bytes:
    """As `age -p` does (scrypt); takes about a second, on purpose."""
    found: bytes = _passphrase.encrypt(data, passphrase)
    return found


def decrypt_with_passphrase(data: bytes, passphrase: str) -> bytes:
    """BadPassphrase, TooMuchWork, BadHeader, BadBody; NoMatch when it was encrypted otherwise."""
    check_header(data)
    try:
        found: bytes = _passphrase.decrypt(data, passphrase)
    except pyrage.DecryptError as error:
        text = str(error)
        if text == _WRONG_PASSPHRASE:
            raise BadPassphrase from None
        if text == _NO_MATCH:
            raise NoMatch from None
        raise (BadBody if text == _BODY else BadHeader) from None
    return found


def check_header(data: bytes) -> None:
    """BadHeader when there is none that ends where one of MAX_RECIPIENTS does at the latest: a
    forged one could keep its reader busy for hours. TooMuchWork."""
    start = data[:MAX_HEADER_BYTES]
    if data.startswith(MAGIC[1]):
        letters = b"".join(data[len(MAGIC[1]) : 2 * MAX_HEADER_BYTES].split())
        try:
            start = base64.b64decode(letters[: len(letters) // 4 * 4])[:MAX_HEADER_BYTES]
        except binascii.Error:
            raise BadHeader from None
    end = start.find(_HEADER_END)
    if end < 0:
        raise BadHeader
    if any(int(work[:9]) > _MAX_WORK for work in _WORK.findall(start, 0, end)):
        raise TooMuchWork
