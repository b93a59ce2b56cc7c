"""The few parts of the tar format (POSIX.1-2001, "pax") that a backup's archive is made of.

Written out here, because the bytes of an archive must never change after the commit, whatever a
later Python's `tarfile` does, and because a reader that knows nothing but regular files cannot be
talked into a link, a device or a sparse file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

BLOCK = 512
END = bytes(2 * BLOCK)
"""What ends an archive."""
MAX_EXTENSION_BYTES = 16 * 1024
"""What a reader takes of a pax header at most: a name has at most a few hundred bytes here."""

_NAME_BYTES = 100
_OCTAL_SIZE = 8**11
"""Sizes from here on (8 GiB) do not fit their field and go into a pax header."""
_RECORD = re.compile(rb"([1-9][0-9]{0,5}) (path|size)=")


class TarError(ValueError):
    """The bytes are no archive of the kind that Convault writes. The message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a header block says."""

    name: str
    size: int
    """bytes"""
    extension: bool
    """a pax header: `size` bytes that say more about the member that follows"""


def member_header(name: str, size: int, mtime: int) -> bytes:
    """All blocks that stand before the bytes of a regular file. `mtime` in seconds since 1970."""
    raw = name.encode()
    records = b""
    if len(raw) > _NAME_BYTES or not name.isascii():
        records += _record(b"path", raw)
    if size >= _OCTAL_SIZE:
        records += _record(b"size", b"%d" % size)
    # Readers that know no pax see a name cut off and a size of 0, as Python's tarfile has it.
    short = name.encode("ascii", "replace")[:_NAME_BYTES]
    plain = _block(short, size if size < _OCTAL_SIZE else 0, mtime, b"0")
    if not records:
        return plain
    extension = _block(b"PaxHeaders/" + short[: _NAME_BYTES - 11], len(records), mtime, b"x")
    return extension + records + padding(len(records)) + plain


def padding(size: int) -> bytes:
    """What fills the last block of `size` bytes."""
    return bytes(-size % BLOCK)


def read_header(block: bytes) -> Header:
    """Read the 512 bytes of a header. TarError, also for every kind of member but regular files."""
    if block[257:265] != b"ustar\x0000":
        raise TarError("there is no header of a pax archive where one should be")
    if _octal(block[148:156]) != _checksum(block):
        raise TarError("the checksum of a header is wrong")
    kind = block[156:157]
    if kind not in (b"0", b"x"):
        raise TarError(f"a member is no regular file, but of type {kind!r}")
    if block[345:500].strip(b"\0"):
        raise TarError("a name is split in two")
    name = block[:_NAME_BYTES].partition(b"\0")[0]
    if not name.isascii():
        raise TarError("a name is not ASCII")
    return Header(name.decode("ascii"), _octal(block[124:136]), kind == b"x")


def next_header(exactly: Callable[[int, str], bytes]) -> Header | None:
    """What the next member is, or None where a block of zeros ends the archive. `exactly` gives so
    many of the bytes that follow, and raises its own error where there are fewer: of what, it is
    told. TarError."""
    block = exactly(BLOCK, "the next member")
    if block == bytes(BLOCK):
        return None
    header = read_header(block)
    if not header.extension:
        return header
    if header.size > MAX_EXTENSION_BYTES:
        raise TarError("a pax header is too large")
    data = exactly(header.size, "a pax header")
    if exactly(-header.size % BLOCK, "a pax header").strip(b"\0"):
        raise TarError("something is hidden behind a pax header")
    following = read_header(exactly(BLOCK, "the next member"))
    if following.extension:
        raise TarError("a pax header follows another")
    return read_extension(data, following)


def read_extension(data: bytes, header: Header) -> Header:
    """`header` with what a pax header's `data` says of it. TarError."""
    values: dict[bytes, bytes] = {}
    while data:
        found = _RECORD.match(data)
        if found is None:
            raise TarError("a pax header says something other than a path or a size")
        length, keyword = int(found[1]), found[2]
        if not found.end() < length <= len(data) or data[length - 1 : length] != b"\n":
            raise TarError("a record of a pax header has a wrong length")
        if keyword in values:
            raise TarError("a pax header says something twice")
        values[keyword] = data[found.end() : length - 1]
        data = data[length:]
    try:
        name = values[b"path"].decode() if b"path" in values else header.name
    except UnicodeDecodeError:
        raise TarError("a name is not UTF-8") from None
    size = values.get(b"size", b"%d" % header.size)
    if not re.fullmatch(rb"[0-9]{1,18}", size):
        raise TarError("a size is no number")
    return Header(name, int(size), extension=False)


def _block(name: bytes, size: int, mtime: int, kind: bytes) -> bytes:
    fields = [
        name.ljust(_NAME_BYTES, b"\0"),
        b"0000600\0",  # mode
        b"0000000\0",  # uid
        b"0000000\0",  # gid
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b" " * 8,  # the checksum, for its own computation
        kind,
        bytes(100),  # the target of a link
        b"ustar\x0000",
        bytes(64),  # names of user and group
        b"0000000\0",  # device
        b"0000000\0",
    ]
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % _checksum(block) + block[156:]


def _checksum(block: bytes) -> int:
    return sum(block[:148]) + 8 * ord(" ") + sum(block[156:])


def _octal(field: bytes) -> int:
    text = field.strip(b"\0 ")
    if not re.fullmatch(rb"[0-7]{1,11}", text):
        raise TarError("a number in a header is not octal")
    return int(text, 8)


def _record(keyword: bytes, value: bytes) -> bytes:
    """A pax record, which begins with its own length."""
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest
