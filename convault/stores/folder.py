"""A store in a folder of this machine, safe from kills, power cuts and disks that are not there.

obstore's own LocalStore leaves modes to the umask, calls no fsync, makes a missing root folder
again and lists a missing one as empty; each of these is taken care of here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore

from convault.durability import sync
from convault.errors import ConfigurationError, StoreError
from convault.stores.base import ObjectInfo
from convault.stores.failures import translated
from convault.stores.objects import ObjectStore
from convault.stores.payload import Payload

FOLDER_MODE = 0o700
FILE_MODE = 0o600
STAGED = "#new-"
"""Between an object's name and a random token: a file that is being written. No key holds a `#`, so
such a file is never taken for an object; those that a killed run left may be deleted by hand when
nothing runs."""


class FolderStore(ObjectStore):
    """Implements `stores.base.Store` in the folder `root`, which must exist.

    `put` returns only when the object and its name are on stable storage, and no object can be seen
    under its name before its bytes are there; so `flush` has nothing left to do.
    """

    def __init__(self, root: Path, url: str) -> None:
        """ConfigurationError when `root` is no folder."""
        with translated("opening it", url):
            if not root.is_dir():
                raise ConfigurationError(
                    f"The folder of {url} does not exist, so no backup can be kept there. If it "
                    "lies on a disk that should be mounted, mount it; if it is new, run `convault "
                    "init`."
                )
            super().__init__(LocalStore(root), url)
            self._root = root
            self._identity = _identity(root)
        self._settled: set[Path] = set()
        """folders whose own entry is known to be on stable storage"""

    @classmethod
    def create(cls, root: Path, url: str) -> FolderStore:
        """Open `root`, making its last component (mode 0700) if it is missing. An empty folder that
        is ours gets mode 0700 too; one that holds something keeps its mode."""
        with translated("making its folder", url):
            if not root.parent.is_dir():
                raise ConfigurationError(
                    f"The folder {root.parent}, in which {url} is to be made, does not exist. If "
                    "it is a disk that should be mounted, mount it; otherwise make it first."
                )
            with suppress(FileExistsError):
                root.mkdir(FOLDER_MODE)
            if root.is_dir() and not any(root.iterdir()):
                with suppress(PermissionError):
                    root.chmod(FOLDER_MODE)
            sync(root.parent)
        return cls(root, url)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """As in the protocol. A folder that vanished meanwhile is an error, not an empty store."""
        yield from super().list(prefix)
        with self._failures("listing"):
            self._check_root()

    def flush(self) -> None:
        """Returns at once: `put` has already brought everything to stable storage. StoreError when
        the folder is gone."""
        with self._failures("flushing"):
            self._check_root()

    def _create(self, key: str, data: Payload) -> bool:
        self._check_root()
        target = self._root / key
        self._make_folders(target.parent)
        written = False
        if not target.exists():
            with self._staged(key, data) as staged, suppress(AlreadyExistsError):
                obstore.rename(self._backend, staged, key, overwrite=False)
                written = True
        # Also when it was there: whoever wrote it may have been killed before this.
        sync(target.parent)
        self._check_root()
        return written

    def _overwrite(self, key: str, data: bytes) -> None:
        self._check_root()
        self._make_folders((self._root / key).parent)
        with self._staged(key, Payload(data)) as staged:
            obstore.rename(self._backend, staged, key, overwrite=True)
        sync((self._root / key).parent)
        self._check_root()

    @contextmanager
    def _staged(self, key: str, data: Payload) -> Iterator[str]:
        """The name of a file with those bytes, on stable storage, to be renamed in the block."""
        staged = f"{key}{STAGED}{secrets.token_hex(8)}"
        try:
            data.copy_to(self._root / staged)
            _settle_file(self._root / staged)
            yield staged
        finally:
            (self._root / staged).unlink(missing_ok=True)

    def _make_folders(self, folder: Path) -> None:
        """Make `folder` and those above it, up to the root, and bring their entries to disk."""
        for path in reversed([folder, *folder.parents]):
            if path in self._settled or not path.is_relative_to(self._root) or path == self._root:
                continue
            # Not Path.mkdir(parents=True): that gives the parents other modes, and would make a
            # root that is gone.
            with suppress(FileExistsError):
                path.mkdir(FOLDER_MODE)
                path.chmod(FOLDER_MODE)
            sync(path.parent)
            self._settled.add(path)

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        with translated(doing, self._url):
            self._check_root()
            yield

    def _failures(self, doing: str) -> AbstractContextManager[None]:
        return self._guarded(doing)

    def _check_root(self) -> None:
        """An unmounted disk leaves an empty folder behind: what is missing there is not missing,
        and what would be written there would be lost."""
        try:
            same = _identity(self._root) == self._identity
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise StoreError(
                f"The folder of {self._url} is not the one that was opened: its disk was "
                "unmounted or mounted, or the folder was replaced. Put it right and start again.",
                store=self._url,
            )


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _settle_file(path: Path) -> None:
    path.chmod(FILE_MODE)
    sync(path)
