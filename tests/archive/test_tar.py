"""Headers as other tools read them, and blocks that no reader of ours takes."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convault.archive import tar

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=300)


def read(data: bytes) -> tar.Header:
    """All that stands before a member."""
    header = tar.read_header(data[:512])
    if not header.extension:
        assert len(data) == 512
        return header
    extension = data[512 : 512 + header.size]
    assert len(data) == 512 + -(-header.size // 512) * 512 + 512
    return tar.read_extension(extension, tar.read_header(data[-512:]))


@given(NAMES, st.integers(0, 2**50), st.integers(0, 8**11 - 1))
def test_reads_what_it_wrote(name: str, size: int, mtime: int) -> None:
    data = tar.member_header(name, size, mtime)
    assert len(data) % 512 == 0
    assert read(data) == tar.Header(name, size, extension=False)


@given(NAMES, st.integers(0, 2**50), st.integers(0, 8**11 - 1))
def test_python_reads_the_same(name: str, size: int, mtime: int) -> None:
    data = tar.member_header(name, size, mtime)
    # Python stops at a header whose member is not there, so it is asked for the first alone.
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        member = archive.next()
        assert member is not None
        # tarfile drops slashes at a name's end, and nothing else.
        assert (member.name, member.size, member.mtime) == (name, size, mtime)
        assert (member.mode, member.uid, member.gid) == (0o600, 0, 0)
        assert member.isreg()


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 10 * 2**30])
@pytest.mark.parametrize("name", ["short", "a" * 100, "b" * 101, "schema/" * 40 + "x"])
def test_system_tar_reads_members_of_many_gigabytes(tmp_path: Path, size: int, name: str) -> None:
    # A hole in the file stands for the bytes, which tar seeks over.
    path = tmp_path / "big.tar"
    with path.open("wb") as file:
        file.write(tar.member_header(name, size, 1_700_000_000))
        file.seek(size + len(tar.padding(size)), 1)
        file.write(tar.member_header("last", 3, 0) + b"end" + tar.padding(3) + tar.END)
    listed = subprocess.run(
        ["tar", "--numeric-owner", "--utc", "-tvf", path],
        capture_output=True,
        text=True,
        check=True,
    )
    first, last = listed.stdout.splitlines()
    assert first.split() == ["-rw-------", "0/0", str(size), "2023-11-14", "22:13", name]
    assert last.split()[2] == "3"
    assert listed.stderr == ""


@given(st.binary(max_size=512).map(lambda data: data.ljust(512, b"\0")))
def test_noise_is_refused(block: bytes) -> None:
    with pytest.raises(tar.TarError):
        tar.read_header(block)


@given(st.integers(0, 511), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(at: int, value: int) -> None:
    block = tar.member_header("messages/00000.ndjson.zst", 1234, 1_700_000_000)
    changed = block[:at] + bytes([value]) + block[at + 1 :]
    try:
        header = tar.read_header(changed)
    except tar.TarError:
        assert changed != block
        return
    # A checksum may be written in more than one way: with blanks for its zeros, for example.
    assert changed == block or 148 <= at < 156
    assert header == tar.Header("messages/00000.ndjson.zst", 1234, extension=False)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"10 path=ab",
        b"9 path=ab\n",
        b"12 path=ab\n",
        b"10 path=a\n\n",
        b"08 size=1\n",
        b"8 size=1\n",
        b"11 size=1\n",
        b"11 size=-1\n",
        b"11 size= 1\n",
        b"13 size=0x10\n",
        b"11 path=a\xff\n",
        b"17 linkpath=/etc\n",
        b"22 GNU.sparse.major=1\n",
        b"9 uid=12\n",
        b"9 path=a\n9 path=b\n",
        b"999999 path=a\n",
        b"99999999999999 path=a\n",
    ],
)
def test_other_pax_records_are_refused(data: bytes) -> None:
    with pytest.raises(tar.TarError):
        tar.read_extension(data, tar.Header("name", 1, extension=False))


@given(st.binary(max_size=100))
def test_a_pax_header_of_noise_never_crashes(data: bytes) -> None:
    try:
        tar.read_extension(data, tar.Header("name", 1, extension=False))
    except tar.TarError:
        assert data != b""
