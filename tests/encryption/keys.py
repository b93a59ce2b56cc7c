"""Keys for tests, and the damage that can be done to an age file."""

from __future__ import annotations

from convault.encryption import age
from convault.encryption.age import Identity


def new_key() -> tuple[str, Identity]:
    """A secret key as text, and the identity."""
    secret, _ = age.new_identity()
    return secret, age.identity(secret)


def flipped(data: bytes, at: int) -> bytes:
    """`data` with one bit of one byte changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def header_bytes(data: bytes) -> int:
    """How long the header of an age file is: its last line begins with `---`."""
    return data.index(b"\n", data.index(b"\n---") + 1) + 1
