"""The tar of a backup, as a view: composed while it streams, never stored.

Everything about it but the parts' own bytes follows from the manifest: names, order, headers, and
so its size and where each byte lies. Any range of it can be read without what comes before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from uuid import UUID

from convault.archive import tar
from convault.errors import IntegrityError
from convault.layout import MANIFEST_NAME
from convault.manifest import Manifest
from convault.repository import Repository

SUMS_NAME = "SHA256SUMS"
PIECE_BYTES = 1024 * 1024
"""What `stream` yields at a time at most."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive."""

    path: str
    size: int
    """bytes"""
    sha256: str
    content: str | bytes
    """the bytes themselves, or the key of the object that holds them"""


def members_of(manifest: Manifest, stored: bytes | None = None) -> list[Member]:
    """The files of the archive in their order. `stored` is the manifest as it lies in the
    repository; without it, as this version would write it."""
    data = manifest.to_bytes() if stored is None else stored
    beside = {m.path: Member(m.path, m.bytes, m.sha256, m.key) for m in manifest.members}
    first = [Member(MANIFEST_NAME, len(data), sha256(data).hexdigest(), data)]
    if "README.txt" in beside:
        first.append(beside["README.txt"])
    rest = [beside["schema.sql"]] if "schema.sql" in beside else []
    rest += [Member(i.path, i.bytes, i.sha256, i.key) for i in manifest.all_indexes]
    rest += [
        Member(part.path, part.stored_bytes, part.sha256, part.key)
        for table in manifest.tables
        for part in table.parts
    ]
    rest += [
        Member(file.member, file.stored_bytes, file.sha256, file.key)
        for file in manifest.files
        if file.key is not None and file.sha256 is not None
    ]
    sums = sums_of((m.path, m.sha256) for m in (*first, *rest))
    return [*first, Member(SUMS_NAME, len(sums), sha256(sums).hexdigest(), sums), *rest]


def sums_of(digests: Iterable[tuple[str, str]]) -> bytes:
    """SHA256SUMS of paths and their digests, as `sha256sum` writes it; no name here holds what it
    would escape."""
    return "".join(f"{digest}  {path}\n" for path, digest in digests).encode()


def size_of(manifest: Manifest, stored: bytes | None = None) -> int:
    """Exact bytes of the archive of a manifest that this version writes, as `members_of` has it.
    Reads nothing."""
    members = members_of(manifest, stored)
    return sum(_spans(members, int(manifest.created_at.timestamp()))) + len(tar.END)


class Archive:
    """The archive of one backup of a repository.

    Made with one look at the manifest; NotFoundError and RepositoryError come from there. The same
    backup always has the same bytes.
    """

    def __init__(self, repository: Repository, backup_id: UUID) -> None:
        self.manifest, data = repository.stored_manifest(backup_id)
        self.stored_manifest = data
        """its bytes, which a signature is about"""
        self.file_name = self.manifest.file_name
        self.etag = sha256(data).hexdigest()
        """of the manifest, from which everything else follows; without quotes"""
        self.members = members_of(self.manifest, data)
        self._store = repository.store
        self._mtime = int(self.manifest.created_at.timestamp())
        self._starts = list(accumulate(_spans(self.members, self._mtime), initial=0))
        """where each member begins, and where the end does"""

    @property
    def size(self) -> int:
        """Exact bytes of the whole."""
        return self._starts[-1] + len(tar.END)

    def stream(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes [start, end) in pieces of at most 1 MiB. ValueError when that is no range of the
        archive.

        A member that is streamed as a whole is checked against its digest, and its last piece is
        held back until it agrees: IntegrityError otherwise. ObjectMissing and StoreError come from
        the store. Whatever is raised, what was yielded before is right but not complete.
        """
        stop = self.size if end is None else end
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"bytes {start} to {stop} do not lie in an archive of {self.size}")
        return self._pieces(start, stop)

    def _pieces(self, start: int, stop: int) -> Iterator[bytes]:
        number = bisect_right(self._starts, start) - 1
        while start < stop and number < len(self.members):
            origin, limit = self._starts[number], min(stop, self._starts[number + 1])
            yield from self._member(self.members[number], start - origin, limit - origin)
            start = limit
            number += 1
        if start < stop:
            yield tar.END[start - self._starts[-1] : stop - self._starts[-1]]

    def _member(self, member: Member, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of a member with its header and padding."""
        header = tar.member_header(member.path, member.size, self._mtime)
        body = len(header)
        after = body + member.size
        if start < body:
            yield header[start:stop]
        begin, end = max(start - body, 0), min(stop - body, member.size)
        if begin < end:
            yield from self._content(member, begin, end)
        fill = tar.padding(member.size)[max(start - after, 0) : max(stop - after, 0)]
        if fill:
            yield fill

    def _content(self, member: Member, start: int, stop: int) -> Iterator[bytes]:
        if isinstance(member.content, bytes):
            for offset in range(start, stop, PIECE_BYTES):
                yield member.content[offset : min(stop, offset + PIECE_BYTES)]
            return
        pieces = _whole(member, self._store.stream(member.content, start, stop), stop - start)
        yield from pieces if stop - start < member.size else _checked(member, pieces)


def _whole(member: Member, pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """`pieces`, which must have `size` bytes: headers have promised them, and an archive with fewer
    would still look like one."""
    got = 0
    for piece in pieces:
        got += len(piece)
        yield piece
    if got != size:
        raise IntegrityError(
            f"{member.content!s} was read as {got} bytes instead of {size}, so the archive cannot "
            "go on. Try again, and check the store if it comes back.",
            member=member.path,
            key=member.content,
        )


def _checked(member: Member, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """`pieces`, of which the last is held back until all have the member's digest."""
    digest = sha256()
    held = b""
    for piece in pieces:
        digest.update(piece)
        if held:
            yield held
        held = piece
    if digest.hexdigest() != member.sha256:
        raise IntegrityError(
            f"{member.content!s} does not have its digest: the stored bytes of {member.path} are "
            "damaged. Put the object back from a copy of the repository, or use another backup.",
            member=member.path,
            key=member.content,
        )
    if held:
        yield held


def _spans(members: list[Member], mtime: int) -> Iterator[int]:
    """Bytes that each member takes with its header and padding."""
    for member in members:
        header = tar.member_header(member.path, member.size, mtime)
        yield len(header) + member.size + len(tar.padding(member.size))
