"""Some bytes of an age file without the rest: its payload is chunks of 64 KiB, each of which opens
by itself (https://c2sp.org/age, STREAM).

What a chunk's own checksum proves is that whoever wrote it had the file's key, that it is this one
by its number, and whether it is the last one. Anybody can encrypt to a public key: that it is what
the backup wrote, digests of the manifest or the index have to prove.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from convault.encryption.age import MAX_HEADER_BYTES, BadBody, BadHeader, Identity, NoMatch

CHUNK_BYTES = 1 << 16
"""of the plain bytes in a chunk; the last one may be shorter"""
_TAG = 16
"""bytes of a chunk's checksum"""
_NONCE = 16
"""bytes between the header and the first chunk"""
_FILE_KEY = 16
_SEALED = _FILE_KEY + _TAG
_SHARE = 32
"""bytes of a public key of X25519"""
_VERSION = b"age-encryption.org/v1"
_MAC_LINE = b"\n--- "
_MAC_LETTERS = 43
"""of 32 bytes in base64 without padding"""
_X25519 = b"-> X25519 "
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_SECRET = "age-secret-key-1"

Read = Callable[[int, int], bytes]
"""bytes [start, end) of the age file"""


class Span(NamedTuple):
    """Plain bytes [start, end)."""

    start: int
    end: int


class Chunks:
    """An age file of which parts can be read. NoMatch, BadHeader, BadBody, as `age.decrypt`."""

    def __init__(self, start: bytes, size: int, identities: Sequence[Identity]) -> None:
        """`start`: its first bytes, with all of the header (see `header_bytes`); `size`: of the
        whole file in bytes."""
        end = header_end(start)
        if end is None or len(start) < end + _NONCE:
            raise BadHeader
        file_key = _file_key(start[:end], identities)
        self._cipher = ChaCha20Poly1305(_derived(file_key, start[end : end + _NONCE], b"payload"))
        self._first = end + _NONCE
        stored = size - self._first
        self._count = -(-stored // (CHUNK_BYTES + _TAG))
        self.plain_bytes = stored - self._count * _TAG
        """how many there are, by the size of the file"""
        last = stored - (self._count - 1) * (CHUNK_BYTES + _TAG)
        # Only an empty file may have an empty chunk.
        if stored < _TAG or last < _TAG or (last == _TAG and self._count > 1):
            raise BadBody

    def read(self, spans: Iterable[Span], read: Read) -> list[bytes]:
        """The plain bytes of each span; chunks that follow one another are read at once, and each
        one once. `read` gives the bytes of the file."""
        wanted = list(spans)
        numbers = sorted({number for span in wanted for number in self._numbers(span)})
        opened: dict[int, bytes] = {}
        while numbers:
            run = next(
                (n for n in range(1, len(numbers)) if numbers[n] != numbers[0] + n), len(numbers)
            )
            opened |= self._opened(numbers[0], numbers[0] + run, read)
            numbers = numbers[run:]
        return [self._cut(span, opened) for span in wanted]

    def _numbers(self, span: Span) -> range:
        if not 0 <= span.start <= span.end <= self.plain_bytes:
            raise BadBody
        return range(span.start // CHUNK_BYTES, -(-span.end // CHUNK_BYTES))

    def _opened(self, first: int, end: int, read: Read) -> dict[int, bytes]:
        step = CHUNK_BYTES + _TAG
        start = self._first + first * step
        stop = self._first + min(end * step, self.plain_bytes + self._count * _TAG)
        data = read(start, stop)
        if len(data) != stop - start:
            raise BadBody
        found = {}
        for number in range(first, end):
            place = (number - first) * step
            last = b"\1" if number == self._count - 1 else b"\0"
            nonce = number.to_bytes(11, "big") + last
            try:
                found[number] = self._cipher.decrypt(nonce, data[place : place + step], None)
            except InvalidTag:
                raise BadBody from None
        return found

    def _cut(self, span: Span, opened: dict[int, bytes]) -> bytes:
        numbers = self._numbers(span)
        whole = b"".join(opened[number] for number in numbers)
        base = numbers.start * CHUNK_BYTES
        return whole[span.start - base : span.end - base]


def header_bytes(recipients: int) -> int:
    """As many bytes as a header for so many recipients takes, with the nonce behind it, and some
    more, for a program may add a line that is for nobody."""
    return min(512 + 120 * recipients, MAX_HEADER_BYTES + _NONCE)


def header_end(start: bytes) -> int | None:
    """Where the payload begins, or None when that is not within `start`. BadHeader when it never
    will be."""
    if start[: len(_VERSION)] != _VERSION[: len(start)]:
        raise BadHeader
    line = start.find(_MAC_LINE, 0, MAX_HEADER_BYTES)
    if line < 0 and len(start) >= MAX_HEADER_BYTES:
        raise BadHeader
    end = line + len(_MAC_LINE) + _MAC_LETTERS + 1
    return end if line >= 0 and end <= len(start) else None


def _file_key(header: bytes, identities: Sequence[Identity]) -> bytes:
    """Of a header that ends where it should; its own checksum is proven."""
    if not header.startswith(_VERSION + b"\n") or not header.endswith(b"\n"):
        raise BadHeader
    known = {identity.recipient: _scalar(str(identity.secret)) for identity in identities}
    for share, body in _stanzas(header):
        for secret in known.values():
            file_key = _unwrapped(secret, share, body)
            if file_key is not None:
                _check_mac(header, file_key)
                return file_key
    raise NoMatch


def _stanzas(header: bytes) -> list[tuple[bytes, bytes]]:
    """The public share and the sealed key of each X25519 recipient."""
    lines = header.split(b"\n")
    found = []
    for line, body in pairwise(lines):
        if line.startswith(_X25519):
            share, sealed = _unpadded(line.removeprefix(_X25519)), _unpadded(body)
            if len(share) != _SHARE or len(sealed) != _SEALED:
                raise BadHeader
            found.append((share, sealed))
    return found


def _unwrapped(secret: X25519PrivateKey, share: bytes, sealed: bytes) -> bytes | None:
    own = secret.public_key().public_bytes_raw()
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError:
        raise BadHeader from None  # a share that makes every secret the same
    key = _derived(shared, share + own, b"age-encryption.org/v1/X25519")
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), sealed, None)
    except InvalidTag:
        return None


def _check_mac(header: bytes, file_key: bytes) -> None:
    end = header.rindex(_MAC_LINE) + len(_MAC_LINE) - 1  # with "---", without the space
    mac = HMAC(_derived(file_key, b"", b"header"), SHA256())
    mac.update(header[:end])
    try:
        mac.verify(_unpadded(header[end + 1 : -1]))
    except InvalidSignature:
        raise BadHeader from None


def _derived(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def _unpadded(text: bytes) -> bytes:
    """Of base64 as the standard writes it: the last letter has bits to spare, which must be zero,
    or several texts would stand for the same bytes."""
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise BadHeader from None
    if base64.b64encode(data).rstrip(b"=") != text:
        raise BadHeader
    return data


def _scalar(secret: str) -> X25519PrivateKey:
    """Of an identity that pyrage has read, so that its checksum is right (Bech32)."""
    letters = secret.lower().removeprefix(_SECRET)[:-6]
    number = 0
    for letter in letters:
        number = number << 5 | _LETTERS.index(letter)
    spare = len(letters) * 5 % 8
    return X25519PrivateKey.from_private_bytes((number >> spare).to_bytes(32, "big"))
