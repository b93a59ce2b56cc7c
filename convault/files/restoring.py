"""Putting a backup's Storage files back: proven before they are sent, and read again afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from convault.encryption.age import Identity
from convault.encryption.objects import Digest, Opener, unlocked
from convault.errors import FilesError, OptionsError, RestoreError
from convault.files.addresses import Address, Borders
from convault.files.entries import FileEntry
from convault.files.storage import CutShort, FileStorage
from convault.files.wanted import own_place
from convault.manifest import Manifest
from convault.progress import report
from convault.project import project
from convault.restore.options import Mode, RestoreOptions
from convault.settings import Settings
from convault.stores.base import Store
from convault.stores.failures import translated
from convault.stores.supabase.uploads import Description

T = TypeVar("T")
R = TypeVar("R")


class There(StrEnum):
    """What is where a file is to be put."""

    NOTHING = "nothing"
    SAME = "the same file"
    ANOTHER = "another file"


@dataclass(frozen=True, slots=True)
class FilesPut:
    """What was done; with `dry_run`, what would be."""

    project: str
    put: int = 0
    same: int = 0
    """they were there already"""
    skipped: int = 0
    """another file is there, and stays"""
    overwritten: int = 0
    bytes: int = 0
    """of what was put"""
    not_held: int = 0
    """files that rows point at and the backup does not hold: they were missing then, too"""
    buckets_made: tuple[str, ...] = ()
    """private"""
    were_public: tuple[str, ...] = ()
    """of these, those that everybody could read where the backup was made"""
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For people."""
        would = "would be" if self.dry_run else "were"
        yield (
            f"Files: {self.put} {would} put back into {self.project} ({self.bytes} bytes), "
            f"{self.overwritten} of them over another; {self.same} were there already, "
            f"{self.skipped} were left as they are."
        )
        if self.not_held:
            yield (
                f"{self.not_held} files that rows point at are not in the backup: they were "
                "missing when it was made."
            )
        for bucket in self.buckets_made:
            was = " It was public before: make it so, if it is to be." * (
                bucket in self.were_public
            )
            yield f"The bucket {bucket} {'would be' if self.dry_run else 'was'} made, private.{was}"


def put_back(
    settings: Settings, store: Store, manifest: Manifest, identities: Sequence[Identity],
    options: RestoreOptions, only: Collection[Address] | None = None,
) -> FilesPut:  # fmt: skip
    """Put every file of the backup, or those that were at the places of `only`, into the project of
    SUPABASE_URL: where it was, or in `options.files_bucket`. `options.mode` says what becomes of
    other files that are there: `fail` finds them before anything is written.

    May be repeated: what is there already, with the right digest, stays. ConfigurationError,
    OptionsError, RestoreError (another file is in the way), FilesError, FilesUnavailable,
    StoreError, IntegrityError and EncryptionError as any reading of the backup.
    """
    require_files(manifest)
    opened = project()
    storage = FileStorage(opened)
    # By all of its files, so that a selection puts each where a whole restore would.
    places = placed(manifest, options.files_bucket)
    if only is not None:
        chosen = tuple(entry for entry in manifest.files if entry.address in only)
        manifest = manifest.model_copy(update={"files": chosen})
        places = {entry.address: places[entry.address] for entry in manifest.stored_files}
    own = Borders((), (), own_place(settings, opened.url))
    if not all(own.covers(place) for place in places.values()):
        raise OptionsError(
            "Files would be put where the store keeps backups. Choose another bucket with "
            "--files-bucket."
        )
    putting = _Putting(store, storage, unlocked(manifest, identities), options.mode)
    return putting.all(manifest, places, settings.convault_file_workers, dry_run=options.dry_run)


def require_files(manifest: Manifest) -> None:
    """OptionsError when the backup holds no files."""
    if manifest.storage is None:
        raise OptionsError(
            f"Backup {manifest.backup_id} holds no Storage files. Leave --files out; "
            "`convault backup --attachments` makes one that does."
        )


def placed(manifest: Manifest, bucket: str | None) -> dict[Address, Address]:
    """Where each stored file goes, by where it was. In another bucket it has the path that it had;
    where files of several buckets come together, behind the name of its own."""
    files = [entry.address for entry in manifest.stored_files]
    several = len({address.bucket for address in files}) > 1
    if bucket is None:
        return {address: address for address in files}
    return {
        address: Address(bucket, "/".join(address) if several else address.path)
        for address in files
    }


class _Putting:
    """Files of one backup on their way."""

    def __init__(self, store: Store, storage: FileStorage, opener: Opener, mode: Mode) -> None:
        self._store = store
        self._storage = storage
        self._opener = opener
        self._mode = mode

    def all(
        self, manifest: Manifest, places: dict[Address, Address], workers: int, *, dry_run: bool
    ) -> FilesPut:
        """See `put_back`."""
        files = manifest.stored_files
        there = self._storage.buckets()
        wanted = sorted({place.bucket for place in places.values()})
        missing = tuple(bucket for bucket in wanted if bucket not in there)
        new = frozenset(missing)

        def look(entry: FileEntry) -> There:
            place = places[entry.address]
            return There.NOTHING if place.bucket in new else self._look(entry, place)

        found = _each(files, look, workers, "compare files")
        others = found.count(There.ANOTHER)
        if others and self._mode is Mode.FAIL:
            raise RestoreError(
                f"{others} of {len(files)} files are there already with another content. Nothing "
                "was changed: --mode skip leaves them, --mode overwrite puts the backup's in their "
                "place, --files-bucket puts all files elsewhere."
            )
        overwrite = self._mode in (Mode.OVERWRITE, Mode.REPLACE)
        todo = [
            (entry, what)
            for entry, what in zip(files, found, strict=True)
            if what is There.NOTHING or (what is There.ANOTHER and overwrite)
        ]
        if not dry_run:
            for bucket in missing:
                self._storage.make_bucket(bucket)

            def put(task: tuple[FileEntry, There]) -> None:
                entry, what = task
                self._put(entry, places[entry.address], replace=what is There.ANOTHER)

            _each(todo, put, workers, "put files")
        return FilesPut(
            project=self._storage.url,
            put=len(todo),
            same=found.count(There.SAME),
            skipped=0 if overwrite else others,
            overwritten=others if overwrite else 0,
            bytes=sum(entry.plain_bytes for entry, _ in todo),
            not_held=sum(entry.outcome in ("missing", "changed") for entry in manifest.files),
            buckets_made=missing,
            were_public=tuple(
                bucket
                for bucket in missing
                if manifest.storage and bucket in manifest.storage.public
            ),
            dry_run=dry_run,
        )

    def _look(self, entry: FileEntry, place: Address) -> There:
        remote = self._storage.look(place)
        if remote is None:
            return There.NOTHING
        if remote.size != entry.plain_bytes:
            return There.ANOTHER
        return There.SAME if self._is_there(entry, place) else There.ANOTHER

    def _is_there(self, entry: FileEntry, place: Address) -> bool:
        """By its digest: every byte is read."""

        def digested(pieces: Iterator[bytes]) -> Digest:
            digest = self._opener.hasher(entry)
            for piece in pieces:
                digest.update(piece)
            return digest

        try:
            digest = self._storage.read(place, entry.plain_bytes, digested)
        except CutShort:
            return False
        return digest is not None and digest.hexdigest() == entry.plain_sha256

    def _put(self, entry: FileEntry, place: Address, *, replace: bool) -> None:
        with (
            translated("keeping a file", tempfile.gettempdir()),
            tempfile.TemporaryFile() as spool,
        ):
            # Nothing is sent before all of it has its digest.
            self._opener.file(entry, self._store.stream(str(entry.key)), spool)
            described = Description(
                entry.content_type or "application/octet-stream",
                entry.cache_control or "no-cache",
                entry.metadata,
            )
            put = self._storage.write(place, spool, described, replace=replace)
        if not self._is_there(entry, place):
            raise FilesError(
                f"A file of {place.bucket} was put back and then was another one"
                f"{'' if put else ', which somebody else put there meanwhile'}. Rows were not "
                "restored: see who writes there, and start again."
            )


def _each(tasks: Sequence[T], call: Callable[[T], R], workers: int, step: str) -> list[R]:
    """What `call` gives for each, so many at a time; the first error ends it."""
    done: list[R] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="files") as pool:
        futures = [pool.submit(call, task) for task in tasks]
        try:
            for future in futures:
                done.append(future.result())
                report(step, f"{len(tasks)} files", done=len(done), total=len(tasks), unit="files")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return done
