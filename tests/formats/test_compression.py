"""Parts are frames of zstd that any tool reads, and nothing that is damaged reads as whole."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import duckdb
import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from convault.errors import IntegrityError
from convault.formats.base import FRAME_BYTES
from convault.formats.compression import READ_BYTES, compressed, decompressed, suffix
from convault.formats.ndjson import document

NAME = "data/messages/abc.ndjson.zst"
LINES = b"".join(b'{"n":%d,"x":"%x"}\n' % (n, n * 7919**3) for n in range(120_000))


def compress(data: bytes, level: int) -> bytes:
    return compressed(document(data), level).data


STORED = compress(LINES, 3)


def _read(stored: bytes, plain_bytes: int, *, name: str = NAME, piece: int = 70_001) -> bytes:
    pieces = [stored[i : i + piece] for i in range(0, len(stored), piece)]
    return b"".join(decompressed(pieces, name=name, plain_bytes=plain_bytes))


def _frames(stored: bytes) -> list[bytes]:
    """The plain bytes of each frame, which says its size and has a checksum."""
    frames = []
    while stored:
        parameters = zstandard.get_frame_parameters(stored)
        reader = zstandard.ZstdDecompressor().decompressobj()
        frames.append(reader.decompress(stored))
        assert (parameters.content_size, parameters.has_checksum) == (len(frames[-1]), True)
        stored = reader.unused_data
    return frames


@given(st.binary(max_size=2000), st.integers(0, 22), st.integers(1, 50))
def test_any_bytes_come_back_at_any_level(data: bytes, level: int, piece: int) -> None:
    name = "part" + suffix(".ndjson", level)
    assert _read(compress(data, level), len(data), name=name, piece=piece) == data


def test_level_0_stores_the_bytes_as_they_are() -> None:
    assert compress(LINES, 0) == LINES
    assert suffix(".ndjson", 0) == ".ndjson"
    assert suffix(".ndjson", 22) == ".ndjson.zst"


def test_frames_are_about_a_mebibyte_and_end_with_a_line() -> None:
    frames = _frames(STORED)
    assert len(frames) == -(-len(LINES) // FRAME_BYTES)
    assert all(frame.endswith(b"\n") and len(frame) <= FRAME_BYTES for frame in frames)
    assert b"".join(frames) == LINES


def test_a_line_that_is_larger_than_a_frame_gets_a_frame_of_its_own() -> None:
    long = b"x" * (2 * FRAME_BYTES) + b"\n"
    data = b"a\n" + long + b"b\n"
    stored = compress(data, 1)
    assert _frames(stored) == [b"a\n", long, b"b\n"]
    assert _read(stored, len(data)) == data


def test_the_same_bytes_come_of_the_same_data() -> None:
    assert compress(bytes(bytearray(LINES)), 3) == STORED


def test_nothing_is_a_frame_too() -> None:
    assert _frames(compress(b"", 3)) == [b""]
    assert _read(compress(b"", 3), 0) == b""


def test_pieces_are_bounded() -> None:
    data = bytes(10 * READ_BYTES)
    sizes = [len(p) for p in decompressed([compress(data, 19)], name=NAME, plain_bytes=len(data))]
    assert sum(sizes) == len(data)
    assert max(sizes) <= READ_BYTES


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(256 * 1024 * 1024))
    assert len(bomb) < 50_000
    pieces = decompressed([bomb], name=NAME, plain_bytes=1000)
    with pytest.raises(IntegrityError, match=r"more than the 1000 bytes.*should"):
        next(pieces)


@pytest.mark.parametrize("cut", [1, 4, 5, 1000, len(STORED) // 2, len(STORED) - 3, len(STORED)])
def test_what_is_cut_off_is_damaged(cut: int) -> None:
    with pytest.raises(IntegrityError) as caught:
        _read(STORED[:-cut], len(LINES))
    assert NAME in caught.value.message
    assert caught.value.ids == {"key": NAME}


def test_a_flipped_bit_is_damage_wherever_it_is() -> None:
    chance = random.Random(5)
    for place in [*range(12), *(chance.randrange(len(STORED)) for _ in range(40))]:
        damaged = bytearray(STORED)
        damaged[place] ^= 1 << chance.randrange(8)
        try:
            found = _read(bytes(damaged), len(LINES))
        except IntegrityError:
            continue
        # A few bits of a frame's header mean nothing to a decoder; then nothing is lost.
        assert found == LINES


@pytest.mark.parametrize("stored", [b"garbage", b"", STORED + b"x", STORED + STORED, LINES])
def test_what_is_not_the_object_is_damaged(stored: bytes) -> None:
    with pytest.raises(IntegrityError):
        _read(stored, len(LINES))


@pytest.mark.parametrize("stored", [b"ab", b"abcd", b""])
def test_plain_objects_have_their_size(stored: bytes) -> None:
    assert _read(b"abc", 3, name="x.ndjson") == b"abc"
    with pytest.raises(IntegrityError):
        _read(stored, 3, name="x.ndjson")


def test_other_tools_read_it(tmp_path: Path) -> None:
    file = tmp_path / "part.ndjson.zst"
    file.write_bytes(STORED)
    query = f"SELECT count(*), max(n) FROM read_json('{file}', format='newline_delimited')"
    assert duckdb.sql(query).fetchall() == [(120_000, 119_999)]
    assert pl.scan_ndjson(file, schema={"n": pl.Int64, "x": pl.String}).collect().height == 120_000


def test_the_zstd_program_reads_it(tmp_path: Path) -> None:
    program = shutil.which("zstd")
    if program is None:
        pytest.skip("the program zstd is not installed here")
    for name, data in (("rows", LINES), ("nothing", b"")):
        file = tmp_path / f"{name}.ndjson.zst"
        file.write_bytes(compress(data, 3))
        subprocess.run([program, "-q", "-t", file], check=True)
        answer = subprocess.run([program, "-dc", file], capture_output=True, check=True)
        assert answer.stdout == data
