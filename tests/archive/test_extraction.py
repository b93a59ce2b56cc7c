"""Taking a tar apart: what Convault wrote comes out whole, anything else is refused untouched."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import tarfile
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convault.archive import tar
from convault.archive.composed import Archive
from convault.archive.extraction import Extracted, extract
from convault.errors import (
    ConfigurationError,
    ConvaultError,
    IntegrityError,
    NotFoundError,
    RepositoryError,
    StoreError,
)
from convault.signing.signature import Signature
from tests.handmade import BACKUP, CONVERSATIONS, new_backup, new_repository

REPOSITORY = new_repository()
MANIFEST = new_backup(REPOSITORY)
REPOSITORY.put_manifest(MANIFEST)
ARCHIVE = Archive(REPOSITORY, BACKUP)
DATA = b"".join(ARCHIVE.stream())

Entry = tuple[tarfile.TarInfo, bytes]


@contextmanager
def in_a_folder() -> Iterator[Path]:
    """A new one for each example of Hypothesis, which pytest's would be shared by."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_extracts_what_was_archived(tmp_path: Path) -> None:
    done = extract(ARCHIVE.stream(), tmp_path / "out")
    expected = {member.path: (member.size, member.sha256) for member in ARCHIVE.members}
    found = {
        str(path.relative_to(tmp_path / "out")): (
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == expected
    total = sum(member.size for member in ARCHIVE.members)
    assert done == Extracted(
        tmp_path / "out", MANIFEST, len(expected), total, Signature.UNSIGNED, 0
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "backup.tar").write_bytes(DATA)
    assert extract(tmp_path / "backup.tar", tmp_path / "out").files == len(ARCHIVE.members)
    with pytest.raises(NotFoundError, match="no file"):
        extract(tmp_path / "missing.tar", tmp_path / "other")
    with pytest.raises(StoreError, match="directory"):
        extract(tmp_path, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.tar", "out"]


@settings(max_examples=20)
@given(st.integers(1, 2000))
def test_in_pieces_of_any_size(size: int) -> None:
    pieces = (DATA[at : at + size] for at in range(0, len(DATA), size))
    with in_a_folder() as folder:
        assert extract(pieces, folder / "out").files == len(ARCHIVE.members)


def test_empty_pieces_mean_nothing(tmp_path: Path) -> None:
    pieces = [b"", DATA[:700], b"", b"", DATA[700:], b""]
    assert extract(pieces, tmp_path / "out").files == len(ARCHIVE.members)


def test_files_are_0600_and_folders_0700_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        extract(ARCHIVE.stream(), tmp_path / "out")
    finally:
        os.umask(before)
    for path in ((tmp_path / "out"), *(tmp_path / "out").rglob("*")):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_what_it_extracts_passes_sha256sum(tmp_path: Path) -> None:
    extract(ARCHIVE.stream(), tmp_path / "out")
    subprocess.run(
        ["sha256sum", "--strict", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "out", check=True
    )


# Where it may be put.


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    extract(ARCHIVE.stream(), tmp_path / "link")
    assert (tmp_path / "out" / "README.txt").exists()
    assert (tmp_path / "link").is_symlink()


def test_a_folder_that_holds_something_is_not(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".hidden").write_bytes(b"mine")
    (tmp_path / "file").write_bytes(b"mine")
    for name in ("out", "file"):
        with pytest.raises(ConfigurationError, match="name another one"):
            extract(ARCHIVE.stream(), tmp_path / name)
    with pytest.raises(ConfigurationError, match="make it first"):
        extract(ARCHIVE.stream(), tmp_path / "missing" / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "file", "out"]


def test_what_somebody_puts_there_meanwhile_is_kept(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield DATA[:1000]
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "file").write_bytes(b"mine")
        yield DATA[1000:]

    with pytest.raises(ConfigurationError, match="somebody wrote into it"):
        extract(pieces(), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "out"]


# What is refused. Nothing may be left of it, wherever it would have gone.


def refuse(data: bytes | Iterator[bytes], folder: Path) -> ConvaultError:
    (folder / "elsewhere").write_bytes(b"mine")
    before = snapshot(folder)
    with pytest.raises((IntegrityError, RepositoryError)) as caught:
        extract([data] if isinstance(data, bytes) else data, folder / "out")
    assert snapshot(folder) == before
    assert caught.value.message.isprintable()
    return caught.value


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


def entries() -> list[Entry]:
    with tarfile.open(fileobj=io.BytesIO(DATA), mode="r:") as opened:
        return [(m, opened.extractfile(m).read()) for m in opened.getmembers()]  # type: ignore[union-attr]


def altered(info: tarfile.TarInfo, **fields: object) -> tarfile.TarInfo:
    """A copy with other fields (`TarInfo.replace` came with Python 3.11.4 and takes only some)."""
    copied = copy(info)
    for name, value in fields.items():
        setattr(copied, name, value)
    return copied


def packed(items: list[Entry], format_: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=format_) as out:
        for info, content in items:
            plain = altered(info, mtime=int(info.mtime), pax_headers={})
            out.addfile(plain, io.BytesIO(content))
    return buffer.getvalue()


def test_the_same_members_packed_by_python_are_taken(tmp_path: Path) -> None:
    # So that what is refused below is refused for what it changes, not for who packed it.
    assert extract([packed(entries())], tmp_path / "out").files == len(ARCHIVE.members)


def named(name: str) -> Callable[[list[Entry]], None]:
    def change(items: list[Entry]) -> None:
        items[4] = (altered(items[4][0], name=name), items[4][1])

    return change


def typed(kind: bytes, target: str = "") -> Callable[[list[Entry]], None]:
    def change(items: list[Entry]) -> None:
        items[4] = (altered(items[4][0], linkname=target, type=kind), items[4][1])

    return change


def filled(index: int, content: bytes) -> Callable[[list[Entry]], None]:
    def change(items: list[Entry]) -> None:
        items[index] = (altered(items[index][0], size=len(content)), content)

    return change


def added(name: str, at: int, content: bytes = b"new") -> Callable[[list[Entry]], None]:
    def change(items: list[Entry]) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        items.insert(at, (info, content))

    return change


LAST = len(ARCHIVE.members)
FIRST_PART = entries()[4][1]
NAMES = ["/etc/passwd", "../elsewhere", "conversations/../../elsewhere", "..",
         "conversations\\00000.ndjson.zst", "conversations/00000.ndjson.zst\n",
         "conversations/\x1b[31m.ndjson.zst", "conversations//00000.ndjson.zst",
         "./conversations/00000.ndjson.zst", "conversations/00000.ndjson.ZST", "README.txt",
         "datapackage.json", "schema.sql", "conversations", "ação", "x" * 300]  # fmt: skip

HOSTILE: dict[str, Callable[[list[Entry]], object]] = {
    **{f"a member named {name!r}": named(name) for name in NAMES},
    "a symbolic link": typed(tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": typed(tarfile.LNKTYPE, "README.txt"),
    "a hard link outwards": typed(tarfile.LNKTYPE, "../elsewhere"),
    "a character device": typed(tarfile.CHRTYPE),
    "a block device": typed(tarfile.BLKTYPE),
    "a pipe": typed(tarfile.FIFOTYPE),
    "a folder": typed(tarfile.DIRTYPE),
    "a contiguous file": typed(tarfile.CONTTYPE),
    "an unknown type": typed(b"Q"),
    "a link before the manifest": lambda items: items.insert(
        0, (link("datapackage.json", "../elsewhere"), b"")
    ),
    "a file before the manifest": added("a", 0),
    "the manifest twice": lambda items: items.insert(1, items[0]),
    "a member twice": lambda items: items.insert(5, items[4]),
    "a member twice at the end": lambda items: items.append(items[4]),
    "a member too many": added("extra", LAST),
    "a member too many between": added("extra", 5),
    "a member that climbs, too many": added("../elsewhere", LAST),
    "an absolute member, too many": added("/tmp/convault-hostile", 2),
    "a member missing": lambda items: items.pop(4),
    "the last member missing": lambda items: items.pop(),
    "the sums missing": lambda items: items.pop(2),
    "the manifest missing": lambda items: items.pop(0),
    "nothing but the manifest": lambda items: items.__delitem__(slice(1, None)),
    "nothing at all": lambda items: items.clear(),
    "another order": lambda items: items.insert(4, items.pop(5)),
    "one byte more": filled(4, FIRST_PART + b"x"),
    "one byte less": filled(4, FIRST_PART[:-1]),
    "other bytes": filled(4, FIRST_PART[:-1] + bytes([FIRST_PART[-1] ^ 1])),
    "many bytes more": filled(4, bytes(10_000_000)),
    "other sums": lambda items: filled(2, items[2][1].replace(b"0", b"1", 1))(items),
    "sums with one line more": lambda items: filled(
        2, items[2][1] + b"0" * 64 + b"  /etc/passwd\n"
    )(items),
    "a manifest of nothing": filled(0, b"{}"),
    "a manifest that is no JSON": filled(0, b"\x00" * 100),
    "an empty manifest": filled(0, b""),
    "a manifest that climbs": lambda items: filled(
        0, items[0][1].replace(b"conversations/00000", b"../../elsewhere/0000")
    )(items),
    "a manifest of a newer format": lambda items: filled(
        0, items[0][1].replace(b'"format": 1', b'"format": 9')
    )(items),
}


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = tarfile.SYMTYPE
    info.linkname = target
    return info


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_hostile_archives_are_refused(
    tmp_path: Path, change: Callable[[list[Entry]], object], format_: int
) -> None:
    items = entries()
    change(items)
    refuse(packed(items, format_), tmp_path)


def test_damage_names_its_member(tmp_path: Path) -> None:
    part = MANIFEST.tables[1].parts[1]
    at = DATA.index(part.path.encode() + b"\0") + 512
    error = refuse(DATA[:at] + bytes([DATA[at] ^ 1]) + DATA[at + 1 :], tmp_path)
    assert error.ids["member"] == part.path
    assert part.path in error.message
    assert "SHA256SUMS" in error.message


@pytest.mark.parametrize("name", ["\x1b]0;x\x07", "a\nb", "é"])
def test_a_hostile_name_is_shown_escaped(tmp_path: Path, name: str) -> None:
    items = entries()
    named(name)(items)
    assert refuse(packed(items), tmp_path).message.isascii()


@settings(max_examples=60)
@given(st.integers(0, len(DATA) - 1))
def test_an_archive_that_is_cut_off_is_refused(at: int) -> None:
    with in_a_folder() as folder:
        refuse(DATA[:at], folder)


def test_ends_and_what_follows_them(tmp_path: Path) -> None:
    assert extract([DATA, bytes(8192)], tmp_path / "padded").files
    for number, data in enumerate(
        [DATA + b"x", DATA + bytes(511) + b"x", DATA[:-512], DATA[:-512] + b"x" * 512, DATA + DATA]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        refuse(data, folder)


@settings(max_examples=150)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_changes_nothing_that_is_written(at: int, by: int) -> None:
    changed = DATA[:at] + bytes([DATA[at] ^ by]) + DATA[at + 1 :]
    with in_a_folder() as folder:
        try:
            extract([changed], folder / "out")
        except (IntegrityError, RepositoryError):
            assert list(folder.iterdir()) == []
            return
        # A header's checksum may be written in more than one way: with blanks, for example.
        assert 148 <= at % 512 < 156
        for member in ARCHIVE.members:
            content = (folder / "out" / member.path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == member.sha256


def header_of(name: str, size: int) -> bytes:
    return tar.member_header(name, size, 0)


def endless(first: bytes) -> Iterator[bytes]:
    yield first
    while True:
        yield bytes(1024 * 1024)


@pytest.mark.parametrize(
    "first",
    [
        header_of("datapackage.json", 10**15),
        header_of("datapackage.json", 2**40)[:512],
        header_of("x" * 200, 1).replace(b"0000000031", b"7777777777"),
        DATA[:-1024] + header_of("bomb", 10**15),
        DATA[: DATA.index(b"SHA256SUMS\0")] + header_of("SHA256SUMS", 10**15),
    ],
)
def test_a_bomb_is_refused_by_what_it_announces(tmp_path: Path, first: bytes) -> None:
    tracemalloc.start()
    try:
        refuse(endless(first), tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 1024 * 1024


def test_memory_stays_small_whatever_the_size_of_a_part(tmp_path: Path) -> None:
    repository = new_repository()
    plain = b'{"id":1,"title":"' + b"x" * (49 * 1024 * 1024) + b'","open":null}\n'
    repository.put_manifest(new_backup(repository, {CONVERSATIONS: [plain]}, level=0))
    archive = Archive(repository, BACKUP)
    assert archive.size > 48 * 1024 * 1024
    tracemalloc.start()
    try:
        extract(archive.stream(), tmp_path / "out")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 1024 * 1024


def test_an_error_of_the_stream_passes_and_leaves_nothing(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield DATA[: len(DATA) // 2]
        raise StoreError("the line broke")

    with pytest.raises(StoreError, match="the line broke"):
        extract(pieces(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
