"""A downloaded tar as a store of its backup's objects, so that it restores as a repository does.

What must be in it, and where, follows from the manifest, its first member: anything else is refused
before an object of it is handed out. Digests are checked by whoever reads the objects, as anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from convault.archive import tar
from convault.archive.composed import members_of
from convault.errors import IntegrityError, NotFoundError, ObjectMissing, StoreError
from convault.layout import MANIFEST_NAME, MAX_MANIFEST_BYTES
from convault.manifest import Manifest
from convault.stores.base import ObjectInfo
from convault.stores.failures import translated

PIECE_BYTES = 4 * 1024 * 1024


class TarStore:
    """Implements the reading half of `stores.base.Store`; what writes is a StoreError."""

    def __init__(self, path: Path) -> None:
        """NotFoundError when there is no such file; IntegrityError when it is no archive of
        Convault, or not all of one; RepositoryError for a manifest that is malformed or newer."""
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        if not path.is_file():
            raise NotFoundError(f"There is no file {path}.", file=path)
        with translated("reading", str(path)), path.open("rb") as file:
            try:
                self.manifest_bytes = self._first(file)
                self.manifest = Manifest.from_bytes(
                    self.manifest_bytes, where=f"{MANIFEST_NAME} in {path.name}"
                )
                self._find(file)
            except tar.TarError as error:
                raise self._refused(str(error)) from None

    @property
    def url(self) -> str:
        """The file."""
        return str(self._path)

    def get(self, key: str) -> bytes:
        """See `stores.base.Store`."""
        return b"".join(self.stream(key))

    def head(self, key: str) -> ObjectInfo:
        """See `stores.base.Store`."""
        _, size = self._place(key)
        modified = datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        return ObjectInfo(key, size, modified)

    def stream(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See `stores.base.Store`."""
        offset, size = self._place(key)
        stop = size if end is None else end
        if not 0 <= start <= stop:
            raise ValueError(f"not a range of bytes: {start} to {stop}")
        if stop > size:
            raise StoreError(f"{key} in {self._path} has {size} bytes, not {stop}.", key=key)
        return self._pieces(offset + start, stop - start)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `stores.base.Store`."""
        return (self.head(key) for key in self._places if key.startswith(prefix))

    def put(self, key: str, data: bytes) -> bool:
        """StoreError: an archive is read only."""
        raise self._read_only(key)

    def put_file(self, key: str, file: BinaryIO) -> bool:
        """StoreError: an archive is read only."""
        raise self._read_only(key)

    def replace(self, key: str, data: bytes) -> None:
        """StoreError: an archive is read only."""
        raise self._read_only(key)

    def delete(self, key: str) -> None:
        """StoreError: an archive is read only."""
        raise self._read_only(key)

    def flush(self) -> None:
        """Nothing was written."""

    def _first(self, file: BinaryIO) -> bytes:
        header = self._header(file)
        if header is None or header.name != MANIFEST_NAME:
            raise self._refused("it does not begin with datapackage.json")
        if header.size > MAX_MANIFEST_BYTES:
            raise self._refused("datapackage.json is too large")
        data = self._exactly(file, header.size)
        self._exactly(file, -header.size % tar.BLOCK)
        return data

    def _find(self, file: BinaryIO) -> None:
        for member in members_of(self.manifest, self.manifest_bytes)[1:]:
            header = self._header(file)
            if header is None:
                raise self._refused(f"it ends before {member.path}")
            if header.name != member.path:
                raise self._refused(f"it holds {header.name!a} where {member.path} must be")
            if header.size != member.size:
                raise self._refused(
                    f"{member.path} has {header.size} bytes, its manifest says {member.size}"
                )
            if isinstance(member.content, str):
                self._places.setdefault(member.content, (file.tell(), member.size))
            file.seek(member.size + -member.size % tar.BLOCK, 1)
        if self._header(file) is not None:
            raise self._refused("it holds files that its manifest does not name")

    def _header(self, file: BinaryIO) -> tar.Header | None:
        return tar.next_header(lambda size, _: self._exactly(file, size))

    def _exactly(self, file: BinaryIO, size: int) -> bytes:
        data: bytes = file.read(size)
        if len(data) != size:
            raise self._refused("it is cut off")
        return data

    def _place(self, key: str) -> tuple[int, int]:
        if key not in self._places:
            raise ObjectMissing(f"{self._path} does not hold {key}.", key=key)
        return self._places[key]

    def _pieces(self, offset: int, left: int) -> Iterator[bytes]:
        with translated("reading", str(self._path)), self._path.open("rb") as file:
            file.seek(offset)
            while left:
                piece = file.read(min(PIECE_BYTES, left))
                if not piece:
                    raise StoreError(f"{self._path} became shorter while it was read.")
                left -= len(piece)
                yield piece

    def _refused(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"The archive {self._path} was refused: {why}. Nothing was restored; download it again."
        )

    def _read_only(self, key: str) -> StoreError:
        return StoreError(f"{self._path} is an archive, which is only read.", key=key)
