"""The tar as a view: the same bytes for ever, any range of them, and what standard tools say."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from convault.archive.composed import Archive, members_of, size_of
from convault.errors import IntegrityError, NotFoundError, ObjectMissing, StoreUnavailable
from convault.layout import MAX_ROW_BYTES
from convault.models import TableName
from convault.stores.objects import ObjectStore
from tests.faulty import FaultyStore, cuts_reads, fails_always
from tests.handmade import (
    BACKUP,
    CONVERSATIONS,
    SCHEMA,
    TAKEN,
    new_backup,
    new_repository,
    put_part,
    rows,
)

REPOSITORY = new_repository()
MANIFEST = new_backup(REPOSITORY)
REPOSITORY.put_manifest(MANIFEST)
ARCHIVE = Archive(REPOSITORY, BACKUP)
DATA = b"".join(ARCHIVE.stream())

NAMES = [
    "datapackage.json",
    "README.txt",
    "SHA256SUMS",
    "schema.sql",
    "conversations/00000.ndjson.zst",
    "messages/00000.ndjson.zst",
    "messages/00001.ndjson.zst",
    "messages/00002.ndjson.zst",
    "=46ale=20=43onosco/=4densagens=2fa=c3=a7=c3=a3o/00000.ndjson.zst",
]


def test_its_size_and_name_are_known_from_the_manifest_alone() -> None:
    assert len(DATA) == ARCHIVE.size == size_of(MANIFEST)
    assert ARCHIVE.file_name == f"backup_{BACKUP}.tar"
    assert ARCHIVE.etag == hashlib.sha256(MANIFEST.to_bytes()).hexdigest()


def test_python_reads_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(DATA), mode="r:") as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == NAMES
        for member in members:
            assert member.isreg()
            assert (member.mode, member.uid, member.gid) == (0o600, 0, 0)
            assert member.mtime == int(TAKEN.timestamp())
        content = {m.name: archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    assert content["datapackage.json"] == MANIFEST.to_bytes()
    assert content["schema.sql"] == SCHEMA
    for table in MANIFEST.tables:
        for part in table.parts:
            assert hashlib.sha256(content[part.path]).hexdigest() == part.sha256
    assert [line.partition("  ")[2] for line in content["SHA256SUMS"].decode().splitlines()] == [
        name for name in NAMES if name != "SHA256SUMS"
    ]


def test_standard_tools_take_it_apart_and_find_it_whole(tmp_path: Path) -> None:
    (tmp_path / "backup.tar").write_bytes(DATA)
    done = subprocess.run(
        ["tar", "xf", "backup.tar"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ""
    checked = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert checked.stdout.splitlines() == [f"{n}: OK" for n in NAMES if n != "SHA256SUMS"]
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {*NAMES, "backup.tar"}
    shown = subprocess.run(
        ["zstd", "-dc", "conversations/00000.ndjson.zst"],
        cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    assert shown.stdout == rows(0, 20)


LONG = TableName("Fale Conosco" * 5, "Mensagens" * 7)
"""needs a pax header"""


def test_its_bytes_never_change() -> None:
    """A backup as version 0.1.0 stored it must give the same tar with every later version."""
    repository = new_repository()
    repository.repository_id = UUID("0c0ffee0-0000-4000-8000-00000000000f")
    stored = (Path(__file__).parent / "stored_by_0.1.0.json").read_bytes()
    repository.store.put(repository.manifest_key(BACKUP), stored)
    repository.put_member(BACKUP, "schema.sql", SCHEMA)
    put_part(repository, CONVERSATIONS, 0, rows(0, 4), level=0)
    put_part(repository, LONG, 0, rows(4, 1), level=0)
    archive = Archive(repository, BACKUP)
    digest = hashlib.sha256(b"".join(archive.stream())).hexdigest()
    assert (archive.size, digest) == (
        13312,
        "77c6a2a93d4b618649542541ac8b7887af4c5697e6e1baa7b5e1b7686c2918e5",
    )


@given(st.tuples(st.integers(0, len(DATA)), st.integers(0, len(DATA))))
def test_any_range_is_a_slice_of_the_whole(bounds: tuple[int, int]) -> None:
    start, end = sorted(bounds)
    assert b"".join(ARCHIVE.stream(start, end)) == DATA[start:end]
    assert b"".join(ARCHIVE.stream(start)) == DATA[start:]


def test_ranges_at_every_edge_of_a_block() -> None:
    edges = [edge + by for edge in range(0, len(DATA) + 1, 512) for by in (-1, 0, 1)]
    edges = [edge for edge in edges if 0 <= edge <= len(DATA)]
    for start in edges[::7]:
        for end in edges[::11]:
            if start <= end:
                assert b"".join(ARCHIVE.stream(start, end)) == DATA[start:end]
    for start in range(len(DATA) - 1100, len(DATA) + 1):
        assert b"".join(ARCHIVE.stream(start)) == DATA[start:]


@pytest.mark.parametrize(
    ("start", "end"),
    [(-1, None), (5, 4), (0, len(DATA) + 1), (len(DATA) + 1, None), (0, -1)],
)
def test_what_is_no_range_is_refused_before_the_first_piece(start: int, end: int | None) -> None:
    with pytest.raises(ValueError, match="do not lie in an archive"):
        ARCHIVE.stream(start, end)


class Watched(ObjectStore):
    """Writes down what is read."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(), "memory://watched")
        self.read: list[tuple[str, int, int | None]] = []

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        self.read.append((key, start, end))
        return super().stream(key, start, end)


def test_reads_only_the_objects_that_a_range_needs() -> None:
    store = Watched()
    repository = new_repository(store)
    manifest = new_backup(repository)
    repository.put_manifest(manifest)
    archive = Archive(repository, BACKUP)
    part = manifest.tables[1].parts[1]
    start = DATA.index(b"messages/00001.ndjson.zst\0") + 512
    store.read.clear()
    piece = b"".join(archive.stream(start + 10, start + 30))
    assert store.read == [(part.key, 10, 30)]
    assert piece == store.get(part.key)[10:30]
    store.read.clear()
    assert archive.size == size_of(manifest)
    b"".join(archive.stream(0, 512))
    assert store.read == []


@pytest.mark.parametrize("empty", [True, False])
def test_tables_without_rows_and_plain_parts(empty: bool) -> None:
    repository = new_repository()
    contents = {CONVERSATIONS: [] if empty else [rows(0, 3), b""]}
    manifest = new_backup(repository, contents, level=0)
    repository.put_manifest(manifest)
    archive = Archive(repository, BACKUP)
    data = b"".join(archive.stream())
    assert len(data) == archive.size
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        sizes = {member.name: member.size for member in opened.getmembers()}
    parts = {name: size for name, size in sizes.items() if name.endswith(".ndjson")}
    full = {"conversations/00000.ndjson": len(rows(0, 3)), "conversations/00001.ndjson": 0}
    assert parts == ({} if empty else full)


def test_takes_the_manifest_as_it_is_stored() -> None:
    # Another version may write the same manifest with other spaces.
    repository = new_repository()
    stored = new_backup(repository).to_bytes().replace(b"\n ", b"\n   ")
    repository.store.put(repository.manifest_key(BACKUP), stored)
    archive = Archive(repository, BACKUP)
    data = b"".join(archive.stream())
    assert stored in data
    assert len(data) == archive.size
    assert archive.etag == hashlib.sha256(stored).hexdigest()
    assert archive.size != size_of(archive.manifest)


def test_names_in_sums_need_no_escaping() -> None:
    for member in members_of(MANIFEST):
        assert member.path.isascii()
        assert not set(member.path) & set("\\\n\r")


def test_unknown_backup() -> None:
    with pytest.raises(NotFoundError):
        Archive(REPOSITORY, uuid4())


# What a store can do wrong.


def damaged(key: str, data: bytes) -> Archive:
    """The archive of a repository in which one object holds `data`."""
    repository = new_repository()
    manifest = new_backup(repository)
    repository.put_manifest(manifest)
    repository.store.delete(key)
    repository.store.put(key, data)
    return Archive(repository, BACKUP)


def good_until_refused(archive: Archive, start: int = 0) -> bytes:
    got = bytearray()
    with pytest.raises(IntegrityError) as caught:  # noqa: PT012  (what came before counts)
        for piece in archive.stream(start):
            got += piece
    assert caught.value.ids["member"] == "messages/00001.ndjson.zst"
    return bytes(got)


def test_damage_is_found_before_the_last_piece_of_its_member_is_given_away() -> None:
    part = MANIFEST.tables[1].parts[1]
    stored = REPOSITORY.store.get(part.key)
    flipped = stored[:-1] + bytes([stored[-1] ^ 1])
    archive = damaged(part.key, flipped)
    whole = b"".join(archive.stream(0, 0))
    assert whole == b""
    start = DATA.index(b"messages/00001.ndjson.zst\0")
    assert len(good_until_refused(archive)) == start + 512


def test_an_object_with_more_bytes_is_damaged() -> None:
    part = MANIFEST.tables[1].parts[1]
    stored = REPOSITORY.store.get(part.key)
    archive = damaged(part.key, stored + b"more")
    assert len(b"".join(archive.stream())) == archive.size, "what was added lies behind the end"


def test_an_object_that_is_gone_is_missing() -> None:
    repository = new_repository()
    manifest = new_backup(repository)
    repository.put_manifest(manifest)
    repository.store.delete(manifest.tables[1].parts[1].key)
    with pytest.raises(ObjectMissing):
        b"".join(Archive(repository, BACKUP).stream())


def test_a_store_that_cuts_reads_is_caught() -> None:
    archive = Archive(REPOSITORY, BACKUP)
    archive._store = FaultyStore(REPOSITORY.store, cuts_reads())
    with pytest.raises(IntegrityError):
        b"".join(archive.stream())
    start = DATA.index(b"messages/00000.ndjson.zst\0") + 512
    with pytest.raises(IntegrityError, match="as 5 bytes instead of 10"):
        b"".join(archive.stream(start, start + 10))


def test_a_store_that_fails_is_told_apart_from_damage() -> None:
    archive = Archive(REPOSITORY, BACKUP)
    archive._store = FaultyStore(REPOSITORY.store, fails_always())
    with pytest.raises(StoreUnavailable):
        b"".join(archive.stream())


class Zeros(ObjectStore):
    """Parts of any size that nobody stored: all their bytes are zero."""

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        if not key.startswith("data/"):
            return super().stream(key, start, end)
        assert end is not None
        return self._zeros(end - start)

    def _zeros(self, left: int) -> Iterator[bytes]:
        while left > 0:
            yield bytes(min(left, 4 * 1024 * 1024))
            left -= 4 * 1024 * 1024


def archive_of_zeros(parts: int, part_bytes: int, digest: str) -> Archive:
    repository = new_repository(Zeros(MemoryStore(), "memory://zeros"))
    manifest = new_backup(repository, {CONVERSATIONS: [b"{}\n"] * parts}, level=0)
    table = manifest.tables[0]
    zeros = tuple(
        part.model_copy(
            update={
                "key": repository.part_key(table.name, digest, ".ndjson"),
                "sha256": digest,
                "stored_bytes": part_bytes,
                "plain_bytes": part_bytes,
            }
        )
        for part in table.parts
    )
    table = table.model_copy(update={"parts": zeros})
    repository.put_manifest(manifest.model_copy(update={"tables": (table,)}))
    return Archive(repository, BACKUP)


def test_memory_stays_small_whatever_the_size_of_a_part() -> None:
    size = 200 * 1024 * 1024
    digest = hashlib.sha256()
    for _ in range(200):
        digest.update(bytes(1024 * 1024))
    archive = archive_of_zeros(1, size, digest.hexdigest())
    tracemalloc.start()
    try:
        got = sum(map(len, archive.stream()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert got == archive.size > size
    assert peak < 16 * 1024 * 1024


def test_a_range_far_inside_terabytes_is_found_at_once() -> None:
    size = MAX_ROW_BYTES  # no part has more
    archive = archive_of_zeros(300, size, "0" * 64)
    assert archive.size > 300 * size > 10**12
    tail = b"".join(archive.stream(archive.size - 2000))
    assert len(tail) == 2000
    assert tail.endswith(bytes(1024))
    around = [number * size for number in range(0, 300, 50)]
    for start in around:
        pieces = archive.stream(start, start + 10)
        assert sum(map(len, pieces)) == 10
