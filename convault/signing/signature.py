"""The signature of a manifest: whether whoever wrote it had the key, and nobody changed it since.

HMAC-SHA256 over the file's bytes, which hold the value itself at a place that is known from their
end; for its own computation the value counts as zeros. So any language can check it, without
agreeing on how JSON is written (docs/format.md).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import io
import re
import secrets
from enum import StrEnum
from hashlib import sha256
from typing import Any

from convault.errors import ConfigurationError, SignatureError
from convault.manifest_reading import members

KEY_BYTES = 32
"""of a key at least, as many as HMAC-SHA256 gives"""
VARIABLE = "CONVAULT_SIGNING_KEY"

_ALGORITHM = "HMAC-SHA256"
_UNSIGNED_END = b"\n}\n"
"""of a manifest as `Manifest.to_bytes` writes it"""
_SIGNED_END = b'"\n }\n}\n'
"""what stands behind the value"""
_ZEROS = b"0" * 64
_FEWEST_DIFFERENT = 8
"""bytes that a key has at least: random ones have 21 of 32 or more, but for one in 10^9"""


class Signature(StrEnum):
    """What can be said of a manifest."""

    SIGNED = "signed"
    """by one of the keys that are here"""
    UNSIGNED = "unsigned"
    WRONG = "wrong"
    """it was changed, or signed by another key than those that are here"""
    UNCHECKED = "unchecked"
    """it has a signature, and there is no key here to check it with"""


class SigningKeys:
    """The keys of CONVAULT_SIGNING_KEY: the first signs, each of them proves."""

    def __init__(self, keys: tuple[bytes, ...] = ()) -> None:
        """The bytes of each key, the newest first."""
        self._keys = keys

    def __repr__(self) -> str:
        """No secret: it may get into a log."""
        return f"SigningKeys({', '.join(self.ids)})"

    def __bool__(self) -> bool:
        return bool(self._keys)

    @classmethod
    def parse(cls, text: str) -> SigningKeys:
        """Keys in hex or base64, with commas between. ConfigurationError, which repeats none."""
        keys = tuple(_key(part.strip(), n) for n, part in enumerate(text.split(","), 1))
        if len(set(keys)) < len(keys):
            raise ConfigurationError(f"{VARIABLE} holds the same key twice: take one out.")
        return cls(keys)

    @property
    def ids(self) -> tuple[str, ...]:
        """What may be told of each key; nothing can be signed with it."""
        return tuple(_id(key) for key in self._keys)

    def derived(self, purpose: bytes) -> tuple[bytes, ...]:
        """A secret of 32 bytes for another purpose from each key, in their order. It tells nothing
        of the key (HMAC as a key derivation function, NIST SP 800-108)."""
        return tuple(hmac.digest(key, b"derive: " + purpose, "sha256") for key in self._keys)

    def sign(self, data: bytes) -> bytes:
        """A manifest as `Manifest.to_bytes` writes it, with a signature behind its last member; as
        it is when there is no key. The same bytes for the same manifest and key."""
        written = io.BytesIO(data)
        self.sign_in(written)
        return written.getvalue()

    def sign_in(self, written: io.BytesIO) -> None:
        """The same, where it was written."""
        if not self._keys:
            return
        key = self._keys[0]
        start = b',\n "signature": {\n  "algorithm": "%b",\n  "key_id": "%b",\n  "value": "' % (
            _ALGORITHM.encode(),
            _id(key).encode(),
        )
        with written.getbuffer() as data:
            if data[-len(_UNSIGNED_END) :] != _UNSIGNED_END:
                raise ValueError("these are not the bytes of a manifest")
            value = _value(key, data[: -len(_UNSIGNED_END)], start, _ZEROS, _SIGNED_END)
        written.seek(-len(_UNSIGNED_END), io.SEEK_END)
        written.write(start + value + _SIGNED_END)

    def check(self, data: bytes, *, superseded: bytes | None = None) -> Signature:
        """What can be said of the bytes of a manifest, whatever they are; `superseded` is the first
        revision, where they are a later one.

        Only a file that ends with its member `convault`, as every unsigned one does, is unsigned:
        anything behind it that is no signature of ours is a wrong one. So is the lack of one where
        the first revision has ours: anybody who can write to the store can put a revision there.
        """
        if not _is_signed(data):
            stripped = superseded is not None and self.check(superseded) is Signature.SIGNED
            return Signature.WRONG if stripped else Signature.UNSIGNED
        if not self._keys:
            return Signature.UNCHECKED
        return (
            Signature.SIGNED if any(_proves(key, data) for key in self._keys) else Signature.WRONG
        )

    def problem(self, data: bytes) -> str:
        """Why a manifest is `wrong`, and what to do, in a sentence."""
        if not _is_signed(data):
            return (
                "it is a later revision that is unsigned, of a backup whose first one is signed, "
                "so somebody may have slipped it in. If it is not yours, delete it: the revision "
                "below it counts then"
            )
        named = _key_id(data)
        if named is not None and named not in self.ids:
            return (
                f"it was signed with the key {named}, which {VARIABLE} does not hold (its keys: "
                f"{', '.join(self.ids)}). If that is a key of yours, add it there behind the "
                "others; if it is not, somebody else wrote this manifest"
            )
        return (
            "it was changed after it was signed, by a fault of the store or by somebody. Take it "
            "from a copy of the repository, or use another backup"
        )


def judged(
    data: bytes,
    keys: SigningKeys,
    *,
    what: str,
    trust: bool = False,
    superseded: bytes | None = None,
) -> Signature:
    """What is to be said of a manifest whose rows are about to be used: the one place where that
    is decided. SignatureError when its signature is wrong, unless the caller was told to `trust`
    it; `what` names the manifest, `superseded` is as for `SigningKeys.check`."""
    found = keys.check(data, superseded=superseded)
    if found is Signature.WRONG and not trust:
        raise SignatureError(
            f"The signature of {what} is wrong: {keys.problem(data)}. Nothing was done; --trust "
            "takes it as it is, and whatever SQL is in it."
        )
    return found


def new_key() -> str:
    """A random key, as CONVAULT_SIGNING_KEY takes it."""
    return secrets.token_hex(KEY_BYTES)


def _key(text: str, number: int) -> bytes:
    try:
        if re.fullmatch("(?:[0-9A-Fa-f]{2})+", text):
            key = bytes.fromhex(text)
        else:
            padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
            key = base64.b64decode(padded.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        raise _weak(number, "is neither hex nor base64") from None
    if len(key) < KEY_BYTES:
        raise _weak(number, f"has {len(key)} bytes, and needs at least {KEY_BYTES}")
    if len(set(key)) < _FEWEST_DIFFERENT:
        raise _weak(number, "repeats itself, so that it can be guessed")
    return key


def _weak(number: int, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"Key {number} of {VARIABLE} {why}. `openssl rand -hex {KEY_BYTES}` makes a good one; "
        "several stand with commas between, the newest first."
    )


def _id(key: bytes) -> str:
    return hmac.digest(key, b"convault signing key id", "sha256")[:8].hex()


def _value(key: bytes, *zeroed: bytes | memoryview) -> bytes:
    """Of these pieces, one after the other."""
    found = hmac.new(key, digestmod=sha256)
    for piece in zeroed:
        found.update(piece)
    return found.hexdigest().encode()


def _proves(key: bytes, data: bytes) -> bool:
    end = len(data) - len(_SIGNED_END)
    if end < len(_ZEROS) or not data.endswith(_SIGNED_END):
        return False
    start = end - len(_ZEROS)
    value = _value(key, memoryview(data)[:start], _ZEROS, _SIGNED_END)
    return hmac.compare_digest(value, data[start:end])


def _is_signed(data: bytes) -> bool:
    names, _ = _members(data)
    return not names or names[-1] != "convault"


def _key_id(data: bytes) -> str | None:
    signature = _members(data)[1].get("signature")
    key_id = signature.get("key_id") if isinstance(signature, dict) else None
    # It goes into a message, and anybody may have written it.
    return key_id if isinstance(key_id, str) and re.fullmatch("[0-9a-f]{16}", key_id) else None


def _members(data: bytes) -> tuple[list[str], dict[str, Any]]:
    """Names, in order, and the signature; no names where that is no JSON."""
    try:
        return members(data, ("signature",))
    except (ValueError, RecursionError):
        return [], {}
