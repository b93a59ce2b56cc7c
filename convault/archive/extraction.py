"""From a tar to files, trusting nothing that the tar says.

The archive's first member is its manifest, and from a checked manifest follows what must come next:
each name, size and digest. Anything else - a path that climbs, a link, a device, a duplicate, one
file more or less, one byte more - is refused before anything of it is written. What is encrypted is
decrypted on the way: the files then have the names and the bytes that they had before encryption.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from convault.archive import tar
from convault.archive.composed import SUMS_NAME, Member, members_of, sums_of
from convault.encryption import age
from convault.encryption.age import Identity
from convault.encryption.objects import Opener, unlocked
from convault.errors import ConfigurationError, IntegrityError, NotFoundError
from convault.files.entries import FileEntry
from convault.layout import MANIFEST_NAME, MAX_MANIFEST_BYTES
from convault.manifest import Manifest, PartEntry
from convault.signing.signature import Signature, SigningKeys
from convault.stores.failures import translated

PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was written."""

    folder: Path
    manifest: Manifest
    files: int
    bytes: int
    signature: Signature
    """of the manifest"""
    decrypted: int
    """files that were encrypted in the archive"""


def extract(
    source: Path | Iterable[bytes],
    folder: Path,
    *,
    identities: Sequence[Identity] = (),
    keys: SigningKeys = SigningKeys(),  # noqa: B008  it cannot be changed
) -> Extracted:
    """Write the files of an archive (a tar's path, or its bytes in pieces) into `folder`. Encrypted
    ones are written decrypted, without `.age`, and SHA256SUMS then tells the digests of what was
    written; memory is bounded by the largest of them.

    `folder` must be absent (its parent must exist) or empty: ConfigurationError. It appears (mode
    0700, files 0600) only when every file is written and has the digest that SHA256SUMS gives;
    then the files lie in a hidden folder beside it, which is removed when anything fails.
    EncryptionError tells what is missing to read an encrypted backup.
    IntegrityError names the member that is hostile, damaged, missing or too many; RepositoryError
    tells of a manifest that is malformed or newer; NotFoundError of a tar that is not there;
    StoreError of a disk that is full.
    """
    target = folder.resolve()
    with translated("extracting", str(target)):
        _check_target(target)
        staged = target.parent / f".{target.name}.{secrets.token_hex(6)}"
        staged.mkdir(0o700)
        try:
            written = _Written(staged)
            manifest, data = _write_all(_Reader(_pieces(source)), written, identities)
            _take_place(staged, target)
        except BaseException:
            shutil.rmtree(staged)
            raise
    return Extracted(
        target,
        manifest,
        len(written.digests),
        written.bytes,
        keys.check(data),
        written.decrypted,
    )


def manifest_of(path: Path) -> Manifest:
    """The manifest of an archive, checked as by `extract`, and nothing else of it read."""
    return _manifest(_Reader(_pieces(path)))[0]


def _check_target(target: Path) -> None:
    if not target.parent.is_dir():
        raise ConfigurationError(f"The folder {target.parent} does not exist: make it first.")
    if not target.exists():
        return
    if not target.is_dir() or any(target.iterdir()):
        raise ConfigurationError(
            f"{target} is there already and not an empty folder: name another one, so that "
            "nothing is overwritten or mixed up."
        )


def _take_place(staged: Path, target: Path) -> None:
    try:
        # In the place of an empty folder too, which keeps out what was put there meanwhile.
        staged.rename(target)
    except OSError:
        raise ConfigurationError(
            f"{target} cannot be replaced by the extracted folder (somebody wrote into it, or it "
            "is a mount point): name a folder that does not exist."
        ) from None


class _Written:
    """What lies in the folder by now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.digests: dict[str, str] = {}
        """SHA-256 of each file, by its path in the folder"""
        self.bytes = 0
        self.decrypted = 0

    def write(self, path: str, pieces: Iterable[bytes]) -> str:
        """A new file; its SHA-256."""
        target = self.folder / path
        _make_folders(target.parent, self.folder)
        digest = sha256()
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
                self.bytes += len(piece)
        self.digests[path] = digest.hexdigest()
        return self.digests[path]


def _write_all(
    reader: _Reader, written: _Written, identities: Sequence[Identity]
) -> tuple[Manifest, bytes]:
    """The manifest and its bytes."""
    manifest, data = _manifest(reader)
    opener = unlocked(manifest, identities)
    members = members_of(manifest, data)
    parts = {part.path: part for table in manifest.tables for part in table.parts}
    files = {file.member: file for file in manifest.stored_files if file.encrypted}
    written.write(MANIFEST_NAME, [data])
    for member in members[1:]:
        header = reader.header()
        if header is None:
            raise _refused(f"it ends before {member.path}", member.path)
        _check_member(header, member)
        body = reader.body(member.size, member.path)
        if member.path in files:
            _write_file(files[member.path], body, opener, written)
        elif member.path.endswith(age.SUFFIX):
            _write_decrypted(member, parts.get(member.path), b"".join(body), opener, written)
        elif written.write(member.path, body) != member.sha256:
            raise _refused(f"{member.path} does not have the digest in SHA256SUMS", member.path)
    extra = reader.header()
    if extra is not None:
        raise _refused(f"it holds {extra.name!a}, which its manifest does not name", extra.name)
    reader.finish()
    if written.decrypted:
        _replace_sums(written)
    return manifest, data


def _manifest(reader: _Reader) -> tuple[Manifest, bytes]:
    """The manifest, which comes first, and its bytes."""
    header = reader.header()
    if header is None or header.name != MANIFEST_NAME:
        raise _refused("it does not begin with datapackage.json", MANIFEST_NAME)
    if header.size > MAX_MANIFEST_BYTES:
        raise _refused("datapackage.json is too large", MANIFEST_NAME)
    data = b"".join(reader.body(header.size, MANIFEST_NAME))
    return Manifest.from_bytes(data, where="datapackage.json of the archive"), data


def _write_decrypted(
    member: Member, part: PartEntry | None, data: bytes, opener: Opener, written: _Written
) -> None:
    """`part` is None for the index, which has no digest of plain bytes but age's own."""
    if part is None:
        opened = opener.decrypted(member.path, data)
        if sha256(data).hexdigest() != member.sha256:
            raise _refused(f"{member.path} does not have the digest in SHA256SUMS", member.path)
    else:
        opened = opener.opened(part, data)
        for _ in opener.plain(part, opened):
            pass  # to the end, where its digest is checked
    written.write(member.path.removesuffix(age.SUFFIX), [opened])
    written.decrypted += 1


def _write_file(entry: FileEntry, body: Iterator[bytes], opener: Opener, written: _Written) -> None:
    """A Storage file, which may be larger than memory."""
    with tempfile.TemporaryFile(dir=written.folder) as spool:
        opener.file(entry, body, spool)
        spool.seek(0)
        pieces = iter(lambda: spool.read(PIECE_BYTES), b"")
        written.write(entry.member.removesuffix(age.SUFFIX), pieces)
    written.decrypted += 1


def _replace_sums(written: _Written) -> None:
    """SHA256SUMS of what lies in the folder, instead of what lay in the archive."""
    size = (written.folder / SUMS_NAME).stat().st_size
    (written.folder / SUMS_NAME).unlink()
    written.bytes -= size
    del written.digests[SUMS_NAME]
    written.write(SUMS_NAME, [sums_of(written.digests.items())])


def _check_member(header: tar.Header, member: Member) -> None:
    if header.name != member.path:
        raise _refused(f"it holds {header.name!a} where {member.path} must be", header.name)
    if header.size != member.size:
        raise _refused(
            f"{member.path} has {header.size} bytes, its manifest says {member.size}", member.path
        )


def _make_folders(path: Path, folder: Path) -> None:
    """Make `path` and what lies between it and `folder`, all of mode 0700: what `mkdir` gives to
    parents depends on the umask."""
    if path == folder or path.is_dir():
        return
    _make_folders(path.parent, folder)
    path.mkdir()
    path.chmod(0o700)


class _Reader:
    """Reads an archive front to back. Holds one piece of the source at a time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = memoryview(b"")

    def header(self) -> tar.Header | None:
        """The next member, or None at the archive's end."""
        try:
            return tar.next_header(self._exactly)
        except tar.TarError as error:
            raise _refused(str(error), None) from None

    def body(self, size: int, name: str) -> Iterator[bytes]:
        """The bytes of a member; its padding is read over."""
        left = size
        while left:
            piece = self._some(left, name)
            left -= len(piece)
            yield piece
        if self._exactly(-size % tar.BLOCK, name).strip(b"\0"):
            raise _refused(f"something is hidden behind {name}", name)

    def finish(self) -> None:
        """IntegrityError unless nothing but zeros is left."""
        if self._exactly(tar.BLOCK, "its end") != bytes(tar.BLOCK):
            raise _refused("its end is damaged", None)
        for piece in (bytes(self._held), *self._pieces):
            if piece.strip(b"\0"):
                raise _refused("something follows its end", None)

    def _some(self, wanted: int, name: str) -> bytes:
        """At least one byte, at most `wanted`."""
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                raise _refused(f"it ends within {name}", name)
            self._held = memoryview(piece)
        taken, self._held = self._held[:wanted], self._held[wanted:]
        return bytes(taken)

    def _exactly(self, wanted: int, name: str) -> bytes:
        data = b""
        while len(data) < wanted:
            data += self._some(wanted - len(data), name)
        return data


def _pieces(source: Path | Iterable[bytes]) -> Iterator[bytes]:
    if not isinstance(source, Path):
        yield from source
        return
    try:
        file = source.open("rb")
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {source}.", file=source) from None
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _refused(why: str, member: str | None) -> IntegrityError:
    ids = {} if member is None else {"member": member}
    return IntegrityError(
        f"The archive was refused: {why}. Nothing of it was kept; download it again.", **ids
    )
