"""A repository: a store that holds manifests, parts and files of one installation."""

from __future__ import annotations

import io
import json
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from enum import Enum
from hashlib import sha256 as digest
from typing import Annotated, Any, BinaryIO
from uuid import UUID, uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from convault import index, layout
from convault.errors import (
    ConvaultError,
    NotAdopted,
    NotFoundError,
    ObjectConflict,
    ObjectMissing,
    RepositoryError,
    StoreError,
    StoreUnavailable,
)
from convault.manifest import FORMAT, IndexEntry, Manifest, MemberEntry, too_new
from convault.manifest_entries import Shared
from convault.models import TableName
from convault.signing.signature import SigningKeys
from convault.stores.base import Store
from convault.stores.quota import QuotaStore

_NO_KEYS = SigningKeys()
_READS = 8
"""manifests read at a time: a store far away answers each in tens of milliseconds"""
_READ_BYTES = 1 << 25
"""of manifests that are read at a time, unless one alone has more: of 100,000 parts, 220 MB"""


class _Marker(BaseModel):
    """`convault.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Annotated[int, Field(ge=0)]
    features: tuple[str, ...] = ()
    repository_id: UUID
    installation_id: UUID
    created_at: AwareDatetime
    is_copy: bool = False
    """whether another place is the one that backups are written to"""
    copy_id: UUID | None = None
    """of the place of a copy, by whatever name or URL it is called"""


class Stored(Enum):
    """What it took to have a part in the store."""

    WRITTEN = "written"
    FOUND = "found"
    """it was there already, and its bytes have their digest"""
    REPAIRED = "repaired"
    """something else was there under its key, and has been set aside"""


class Repository:
    """Knows what lies where in a store. Made by `create` or `open`, never directly."""

    def __init__(self, store: Store, marker: _Marker) -> None:
        self.store = store
        self.repository_id = marker.repository_id
        self.installation_id = marker.installation_id
        self.created_at = marker.created_at
        self.is_copy = marker.is_copy
        self.copy_id = marker.copy_id
        self._marker = marker

    @classmethod
    def create(cls, store: Store, installation_id: UUID | None = None) -> Repository:
        """Make `store` a repository; RepositoryError if it is one. Of two at once one succeeds."""
        marker = _Marker(
            format=FORMAT,
            repository_id=uuid4(),
            installation_id=installation_id or uuid4(),
            created_at=datetime.now(UTC),
        )
        try:
            made = store.put(layout.REPOSITORY_KEY, _written(marker))
        except ObjectConflict:
            made = False
        if not made:
            raise RepositoryError(
                f"{store.url} is a repository already; it was left as it is.", store=store.url
            )
        store.flush()
        return cls(store, marker)

    def create_copy(self, store: Store, writer: UUID) -> Repository:
        """Make `store` a copy of this repository, empty as yet, which `writer` may write to.
        RepositoryError if there is a repository already. Of two at once one succeeds."""
        update = {"installation_id": writer, "is_copy": True, "copy_id": uuid4()}
        marker = self._marker.model_copy(update=update)
        try:
            made = store.put(layout.REPOSITORY_KEY, _written(marker))
        except ObjectConflict:
            made = False
        if not made:
            raise RepositoryError(
                f"{store.url} is a repository already; it was left as it is.", store=store.url
            )
        store.flush()
        return Repository(store, marker)

    @classmethod
    def open(cls, store: Store, expected: UUID | None = None) -> Repository:
        """Open the repository in `store`. RepositoryError when there is none, when its id is not
        `expected`, or when its format is newer than this version reads."""
        try:
            data = store.get(layout.REPOSITORY_KEY)
        except ObjectMissing:
            raise RepositoryError(
                f"{store.url} is not a repository: it has no {layout.REPOSITORY_KEY}. If it lies "
                "on a disk that should be mounted, mount it; if it is new, run `convault init`.",
                store=store.url,
            ) from None
        marker = _read_marker(data, store.url)
        if expected is not None and marker.repository_id != expected:
            raise RepositoryError(
                f"{store.url} holds the repository {marker.repository_id}, but the catalog belongs "
                f"to {expected}. Mount or name the right one; to start over with this one, run "
                "`convault init --new-repository`.",
                store=store.url,
                repository=marker.repository_id,
                expected=expected,
            )
        return cls(store, marker)

    def within(self, quota: int) -> Repository:
        """The same repository, in whose store no more than `quota` bytes are put. QuotaExceeded
        when it holds that much already."""
        return self.through(QuotaStore(self.store, quota))

    def through(self, store: Store) -> Repository:
        """The same repository by way of `store`, which leads to the same place."""
        return Repository(store, self._marker)

    def upgrade(self) -> bool:
        """Have the marker say this version's format; whether it said an older one. Backups stay as
        they are, each with the format it was written in. May be repeated. StoreUnavailable."""
        if self._marker.format == FORMAT:
            return False
        self._marker = self._marker.model_copy(update={"format": FORMAT})
        self.store.replace(layout.REPOSITORY_KEY, _written(self._marker))
        self.store.flush()
        return True

    def require_same_writer(self) -> None:
        """NotAdopted when another installation has adopted the repository since it was opened:
        what it removes, this one would not know of. StoreError, RepositoryError."""
        marker = _read_marker(self.store.get(layout.REPOSITORY_KEY), self.store.url)
        if marker.installation_id != self.installation_id:
            raise NotAdopted(
                f"Another installation has adopted {self.store.url} meanwhile. Nothing was "
                "committed; see which one shall write there, and run `convault adopt` in it.",
                store=self.store.url,
            )

    def adopt(self, installation_id: UUID, *, is_copy: bool = False) -> None:
        """Let that installation be the one that writes: backups, or (`is_copy`) what it copies here
        from another place. May be repeated."""
        copy_id = (self._marker.copy_id or uuid4()) if is_copy else None
        update = {"installation_id": installation_id, "is_copy": is_copy, "copy_id": copy_id}
        self._marker = self._marker.model_copy(update=update)
        self.installation_id, self.is_copy, self.copy_id = installation_id, is_copy, copy_id
        self.store.replace(layout.REPOSITORY_KEY, _written(self._marker))
        self.store.flush()

    def require_current(self) -> None:
        """RepositoryError unless the marker says this version's format: a version that knows only
        the older one must not take the repository for its own when newer backups are in it."""
        if self._marker.format != FORMAT:
            raise RepositoryError(
                f"{self.store.url} is a repository of format {self._marker.format}. Its backups "
                "can be read as they are; before a new one is made, run `convault init`, which "
                f"makes it format {FORMAT}.",
                store=self.store.url,
            )

    def part_key(self, table: TableName, sha256: str, suffix: str) -> str:
        """Key of a part, by the digest of its stored bytes."""
        return layout.part_key(table, sha256, suffix)

    def member_key(self, backup_id: UUID, path: str) -> str:
        """Key of a small file (README.txt, schema.sql) beside the manifest."""
        return layout.member_key(backup_id, path)

    def manifest_key(self, backup_id: UUID, revision: int = 1) -> str:
        """Key of the manifest: of the first revision, which makes the backup exist, or of another
        one."""
        return layout.manifest_key(backup_id, revision)

    def backup_ids(self) -> list[UUID]:
        """Every backup there is: those whose manifest exists. Sorted, which says nothing of their
        age."""
        return list(self.revisions())

    def revisions(self) -> dict[UUID, int]:
        """Every backup there is, sorted, and the highest revision of its manifest: the one that
        counts. Revisions without the first are what is left of a backup that was removed."""
        return {backup_id: revision for backup_id, (revision, _) in self._highest().items()}

    def _highest(self) -> dict[UUID, tuple[int, int]]:
        """The same, and the bytes of that revision."""
        highest: dict[UUID, tuple[int, int]] = {}
        there = set()
        for info in self.store.list(layout.BACKUPS):
            found = layout.revision_of(info.key)
            if found is not None:
                backup_id, revision = found
                highest[backup_id] = max((revision, info.size), highest.get(backup_id, (1, 0)))
                if revision == 1:
                    there.add(backup_id)
        return {backup_id: highest[backup_id] for backup_id in sorted(there)}

    def revision(self, backup_id: UUID) -> int:
        """The highest revision of the backup's manifest; 1 also where there is no backup."""
        listed = self.store.list(layout.revisions_of(backup_id))
        found = (layout.revision_of(info.key) for info in listed)
        return max((revision[1] for revision in found if revision is not None), default=1)

    def manifest_bytes(self, backup_id: UUID, revision: int | None = None) -> bytes:
        """The manifest as it is stored, in its highest revision unless one is named.
        NotFoundError; RepositoryError when it is larger than any manifest, before all of it is in
        memory."""
        number = self.revision(backup_id) if revision is None else revision
        key = layout.manifest_key(backup_id, number)
        whole = io.BytesIO()  # pieces that are joined are there twice
        try:
            if number > 1:
                self.store.head(layout.manifest_key(backup_id))  # or it was removed
            for piece in self.store.stream(key):
                whole.write(piece)
                if whole.tell() > layout.MAX_MANIFEST_BYTES:
                    raise RepositoryError(
                        f"{key} in {self.store.url} is larger than any manifest: it was damaged or "
                        "forged. `convault list` shows the other backups.",
                        backup=backup_id,
                    )
            return whole.getvalue()
        except ObjectMissing:
            raise NotFoundError(
                f"There is no backup {backup_id} in {self.store.url}; `convault list` shows those "
                "there are.",
                backup=backup_id,
            ) from None

    def manifest(self, backup_id: UUID) -> Manifest:
        """The manifest in its highest revision, checked. NotFoundError; RepositoryError when it is
        malformed, of a newer format, or of another backup or repository."""
        return self.stored_manifest(backup_id)[0]

    def manifests(self) -> Iterator[tuple[UUID, Manifest | ConvaultError]]:
        """The manifest of every backup there is, some read at a time, or why it cannot be read.
        Backups that are removed meanwhile are left out. Not many more are in memory than the caller
        keeps, and of entries that are equal one."""
        shared = Shared()

        def read(backup_id: UUID) -> Manifest | ConvaultError | None:
            try:
                return self.stored_manifest(backup_id, shared)[0]
            except NotFoundError:
                return None
            except RepositoryError as error:
                return error

        reading: deque[tuple[UUID, int, Future[Manifest | ConvaultError | None]]] = deque()
        ahead = 0
        with ThreadPoolExecutor(_READS, thread_name_prefix="manifest") as pool:
            waiting = deque(self._highest().items())
            while waiting or reading:
                while waiting and len(reading) < _READS:
                    backup_id, (_, size) = waiting[0]
                    if reading and ahead + size > _READ_BYTES:
                        break
                    waiting.popleft()
                    reading.append((backup_id, size, pool.submit(read, backup_id)))
                    ahead += size
                backup_id, size, future = reading.popleft()
                found = future.result()
                ahead -= size
                del future  # it would keep what the caller has let go
                if found is not None:
                    yield backup_id, found

    def stored_manifest(
        self, backup_id: UUID, shared: Shared | None = None
    ) -> tuple[Manifest, bytes]:
        """As `manifest`, and its bytes as they are stored, which a signature is about."""
        revision = self.revision(backup_id)
        data = self.manifest_bytes(backup_id, revision)
        return self.read_manifest(backup_id, data, revision, shared), data

    def superseded(self, manifest: Manifest) -> bytes | None:
        """The first revision's bytes of a manifest that is a later one, or else None; what a
        signature of it has to be held against."""
        return self.manifest_bytes(manifest.backup_id, 1) if manifest.revision > 1 else None

    def read_manifest(
        self, backup_id: UUID, data: bytes, revision: int | None = None,
        shared: Shared | None = None,
    ) -> Manifest:  # fmt: skip
        """`data`, as `manifest_bytes` gave it, checked as by `manifest`; with `revision`, also that
        it is of that one."""
        key = layout.manifest_key(backup_id, revision or 1)
        manifest = Manifest.from_bytes(data, where=f"{key} in {self.store.url}", shared=shared)
        if revision is not None and manifest.revision != revision:
            raise RepositoryError(
                f"{key} in {self.store.url} says that it is revision {manifest.revision}: it was "
                "copied or renamed. Put it back where it belongs.",
                backup=backup_id,
            )
        if (manifest.backup_id, manifest.repository_id) != (backup_id, self.repository_id):
            raise RepositoryError(
                f"{key} in {self.store.url} belongs to backup {manifest.backup_id} of the "
                f"repository {manifest.repository_id}: it was copied or renamed. Put it back where "
                "it belongs.",
                backup=backup_id,
            )
        return manifest

    def put_member(self, backup_id: UUID, path: str, data: bytes) -> MemberEntry:
        """Store a small file (README.txt, schema.sql) of a backup that is being made.

        What an earlier attempt at the same backup left under that key is replaced, because its key
        does not tell its content; only the run that holds the backup's lease may call this.
        RepositoryError when the backup is complete and its file is another.
        """
        return MemberEntry.model_validate(self._put_beside(backup_id, path, data))

    def put_index(
        self, backup_id: UUID, data: bytes, tables: Sequence[TableName], *, encrypted: bool = False,
        shared: bool = False,
    ) -> IndexEntry:  # fmt: skip
        """Store the index of a backup that is being made, as `put_member` stores its files, or
        `shared` under its digest, where later backups can name it too; `tables` are those that it
        covers."""
        path = layout.INDEX_NAMES[encrypted]
        if shared:
            sha256 = digest(data).hexdigest()
            key = layout.shared_index_key(sha256, encrypted)
            self.put_part(key, sha256, data)
            beside = {"path": path, "key": key, "sha256": sha256, "bytes": len(data)}
        else:
            beside = self._put_beside(backup_id, path, data)
        # Of an encrypted one, blocks are told before encryption.
        digests = () if encrypted else index.blocks(data)
        return IndexEntry.model_validate({**beside, "tables": tuple(tables), "blocks": digests})

    def put_revised(self, backup_id: UUID, path: str, data: bytes) -> dict[str, Any]:
        """Store a file for a later revision of the backup's manifest, under its own digest; the
        fields of its entry."""
        sha256 = digest(data).hexdigest()
        key = layout.revised_member_key(backup_id, path, sha256)
        self.put_part(key, sha256, data)  # what is there already is held against its digest
        return {"path": path, "key": key, "sha256": sha256, "bytes": len(data)}

    def _put_beside(self, backup_id: UUID, path: str, data: bytes) -> dict[str, Any]:
        key = layout.member_key(backup_id, path)
        if not self._is_stored(key, data):
            if self._exists(layout.manifest_key(backup_id)):
                raise RepositoryError(
                    f"The backup {backup_id} is complete; its {path} cannot be changed.",
                    backup=backup_id,
                )
            self.store.delete(key)
            self.store.put(key, data)
        return {"path": path, "key": key, "sha256": digest(data).hexdigest(), "bytes": len(data)}

    def put_part(self, key: str, sha256: str, data: bytes) -> Stored:
        """Store a part under its `key` (`part_key` with `sha256`, the digest of `data`).

        An object that is there already is read and held against its digest, for what is damaged in
        the store would otherwise be part of every backup from now on. Damaged bytes are kept under
        `layout.damaged_key`, the good ones take their place, and readers find the one or the other.
        Two at once are safe. ValueError when the digest is not that of `data`.
        """
        try:
            if self.store.put(key, data):
                return Stored.WRITTEN
            if self._digest(key) == sha256:
                return Stored.FOUND
        except ObjectConflict:
            pass  # another size is there
        if digest(data).hexdigest() != sha256:
            raise ValueError(f"the bytes of {key} do not have its digest")
        damaged = self._whole(key)
        found = digest(damaged).hexdigest()
        if found == sha256:
            return Stored.FOUND  # another writer was quicker
        self._is_stored(layout.damaged_key(key, found), damaged)
        self.store.flush()
        self.store.replace(key, data)
        return Stored.REPAIRED

    def put_file(self, sha256: str, file: BinaryIO, *, encrypted: bool) -> Stored:
        """Store a Storage file, encrypted or as it is, under the digest of its bytes in `file`.

        What is there already is read and held against its digest, as `put_part` does. Damaged bytes
        are kept under `layout.damaged_key` before the good ones take their place; killed in
        between, the object is missing until the same file is stored again.
        """
        return self.put_large(layout.file_key(sha256, encrypted=encrypted), sha256, file)

    def put_large(self, key: str, sha256: str, file: BinaryIO) -> Stored:
        """Store an object under its `key`, as `put_file` does; `sha256` is the digest of `file`."""
        try:
            if self.store.put_file(key, file):
                return Stored.WRITTEN
            if self._digest(key) == sha256:
                return Stored.FOUND
        except ObjectConflict:
            pass  # another size is there
        with tempfile.TemporaryFile() as damaged:
            found = digest()
            for piece in self.store.stream(key):
                found.update(piece)
                damaged.write(piece)
            if found.hexdigest() == sha256:
                return Stored.FOUND  # another writer was quicker
            self.store.put_file(layout.damaged_key(key, found.hexdigest()), damaged)
        self.store.flush()
        self.store.delete(key)
        self.store.put_file(key, file)
        return Stored.REPAIRED

    def put_manifest(
        self, manifest: Manifest, keys: SigningKeys = _NO_KEYS, signed: bytes | None = None
    ) -> None:
        """Make the backup exist, or supersede its manifest by a later revision: store it, signed
        with `keys`, durably, after everything it names. `signed` are its bytes, where they have
        been made and read already.

        May be repeated with the same manifest; ObjectConflict when another one is there.
        RepositoryError when this repository could not read the manifest again.
        """
        data = manifest.signed(keys) if signed is None else signed
        if signed is None or manifest.repository_id != self.repository_id:
            self.read_manifest(manifest.backup_id, data, manifest.revision)
        self.put_manifest_bytes(manifest.backup_id, manifest.revision, data)

    def put_manifest_bytes(self, backup_id: UUID, revision: int, data: bytes) -> None:
        """As `put_manifest`, of a manifest that is written and signed."""
        self.store.flush()
        if not self._is_stored(layout.manifest_key(backup_id, revision), data):
            raise ObjectConflict(
                f"The backup {backup_id} already has another manifest in {self.store.url}. It "
                "stays as it is; start a new backup.",
                backup=backup_id,
            )
        self.store.flush()

    def _is_stored(self, key: str, data: bytes) -> bool:
        """Store `data` unless something is there; whether what is there now is `data`. Compares
        bytes: a store compares sizes only."""
        try:
            return self.store.put(key, data) or self.store.get(key) == data
        except ObjectConflict:
            return False

    def _digest(self, key: str) -> str:
        found = digest()
        for piece in self.store.stream(key):
            found.update(piece)
        return found.hexdigest()

    def _whole(self, key: str) -> bytes:
        try:
            return self.store.get(key)
        except (StoreUnavailable, ObjectMissing):
            raise
        except StoreError:
            # Cut off while it was read? Then another writer replaced it by something shorter.
            return self.store.get(key)

    def _exists(self, key: str) -> bool:
        try:
            self.store.head(key)
        except ObjectMissing:
            return False
        return True


def _written(marker: _Marker) -> bytes:
    # Only a copy says that it is one.
    hidden = {"is_copy", "copy_id"} if not marker.is_copy else set()
    content = marker.model_dump(mode="json", exclude=hidden)
    return json.dumps(content, indent=1).encode() + b"\n"


def _read_marker(data: bytes, url: str) -> _Marker:
    try:
        content: Any = json.loads(data)
        reason = too_new(content)
        if reason is not None:
            raise RepositoryError(f"{url} {reason}: upgrade Convault.", store=url)
        return _Marker.model_validate_json(data, strict=True)
    except (ValueError, TypeError, KeyError, RecursionError, ValidationError):
        raise RepositoryError(
            f"{layout.REPOSITORY_KEY} in {url} is damaged: put back a copy of it before anything "
            "is backed up there.",
            store=url,
        ) from None
