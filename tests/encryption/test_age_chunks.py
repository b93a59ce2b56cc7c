"""Bytes of an age file by range: what `age.decrypt` gives of the whole, or an error."""

from __future__ import annotations

import random
import string

import pytest

from convault.encryption import age
from convault.encryption.age_chunks import CHUNK_BYTES, Chunks, Span, header_bytes, header_end
from tests.encryption.keys import new_key

SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 200_003]


def opened(data: bytes, identity: age.Identity, spans: list[Span], size: int = -1) -> list[bytes]:
    chunks = Chunks(data[:20_000], len(data) if size < 0 else size, [identity])
    return chunks.read(spans, lambda start, end: data[start:end])


@pytest.mark.parametrize("size", SIZES)
def test_any_bytes_are_those_of_the_whole(size: int) -> None:
    _, first = new_key()
    _, second = new_key()
    plain = random.Random(size).randbytes(size)
    data = age.encrypt(plain, [first.recipient, second.recipient])
    edges = sorted({0, 1, size // 2, size - 1, size, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1})
    edges = [edge for edge in edges if 0 <= edge <= size]
    spans = [Span(start, end) for start in edges for end in edges if start <= end]
    for identity in (first, second):
        found = opened(data, identity, spans)
        assert found == [plain[start:end] for start, end in spans]
        assert Chunks(data[:20_000], len(data), [identity]).plain_bytes == size
    end = header_end(data)
    assert end is not None
    assert end + 16 <= header_bytes(2)


def test_only_chunks_that_are_needed_are_read_and_neighbours_at_once() -> None:
    _, identity = new_key()
    plain = random.Random(1).randbytes(10 * CHUNK_BYTES)
    data = age.encrypt(plain, [identity.recipient])
    asked: list[tuple[int, int]] = []

    def read(start: int, end: int) -> bytes:
        asked.append((start, end))
        return data[start:end]

    chunks = Chunks(data[: header_bytes(1)], len(data), [identity])
    spans = [Span(5, 6), Span(CHUNK_BYTES, CHUNK_BYTES + 9), Span(8 * CHUNK_BYTES + 1, 9 * 65536)]
    assert chunks.read(spans, read) == [plain[start:end] for start, end in spans]
    assert [end - start for start, end in asked] == [2 * (CHUNK_BYTES + 16), CHUNK_BYTES + 16]


def test_every_damage_is_told() -> None:
    _, identity = new_key()
    plain = random.Random(2).randbytes(2 * CHUNK_BYTES + 77)
    data = age.encrypt(plain, [identity.recipient])
    header = header_end(data)
    assert header is not None
    whole = [Span(0, len(plain))]
    assert opened(data, identity, whole) == [plain]
    # Each byte of the header and of the nonce, and some of each chunk.
    places = [*range(header + 16), header + 16, header + 70_000, len(data) - 1, len(data) - 70]
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(age.CannotOpen):
            opened(bytes(changed), identity, whole)
    for size in (0, 1, header, header + 16, header + 31, len(data) // 2, len(data) - 1):
        with pytest.raises(age.CannotOpen):
            opened(data[:size], identity, whole)
        with pytest.raises(age.CannotOpen):  # cut off, and the size is said to be what it was
            opened(data[:size], identity, whole, len(data))
    with pytest.raises(age.CannotOpen):
        opened(data + b"x", identity, whole)
    # Chunks in another order, and one that is taken for the last.
    step = CHUNK_BYTES + 16
    body = header + 16
    swapped = data[:body] + data[body + step : body + 2 * step] + data[body : body + step]
    with pytest.raises(age.BadBody):
        opened(swapped + data[body + 2 * step :], identity, [Span(0, 5)])
    with pytest.raises(age.BadBody):
        opened(data[: body + step], identity, [Span(0, 5)])


def test_spare_bits_of_a_letter_are_zero() -> None:
    _, identity = new_key()
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    data = age.encrypt(b"x" * 100, [identity.recipient])
    end = header_end(data)
    assert end is not None
    last = letters.index(chr(data[end - 2]))
    assert last % 4 == 0
    for other in range(last + 1, last + 4):
        changed = bytearray(data)
        changed[end - 2] = ord(letters[other])
        with pytest.raises(age.BadHeader):
            opened(bytes(changed), identity, [Span(0, 5)])


def test_other_people_cannot_open_it() -> None:
    _, identity = new_key()
    _, other = new_key()
    data = age.encrypt(b"x" * 100, [identity.recipient])
    with pytest.raises(age.NoMatch):
        opened(data, other, [Span(0, 5)])


def test_a_header_without_end_is_refused() -> None:
    with pytest.raises(age.BadHeader):
        header_end(b"age-encryption.org/v1\n" + b"-> X25519 a\n" * 5000)
    assert header_end(b"age-encryption.org/v1\n-> X") is None
