"""Where the demo lives: a folder, one demo at a time in it, and settings of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convault.embedded.home import home_folder, make_folder
from convault.embedded.server import EmbeddedPostgres
from convault.errors import BusyError, ConfigurationError

_NOT_MEANT_FOR_THE_DEMO = ("CONVAULT_", "SUPABASE_", "PREFECT_", "PG", "DATABASE_URL")
_KEPT = {"CONVAULT_DEBUG"}


@dataclass(frozen=True)
class DemoHome:
    """The folder of a demo and what lies in it."""

    folder: Path

    @property
    def store(self) -> Path:
        """The repository."""
        return self.folder / "store"

    @property
    def prefect(self) -> Path:
        """PREFECT_HOME: Prefect's database and logs."""
        return self.folder / "prefect"

    @property
    def download(self) -> Path:
        """The last tar, and what was in it."""
        return self.folder / "download"

    @property
    def postgres(self) -> EmbeddedPostgres:
        """The server, running or not."""
        return EmbeddedPostgres(self.folder / "postgres")

    def settings(self) -> dict[str, str]:
        """The environment in which every command works on the demo's school."""
        return {
            "DATABASE_URL": self.postgres.url("school"),
            "CONVAULT_STORE_URL": self.store.as_uri(),
            "PREFECT_HOME": str(self.prefect),
        }

    def reset(self) -> None:
        """Forget everything that earlier demos left."""
        if self.postgres.folder.exists():
            self.postgres.destroy()
        for folder in (self.store, self.prefect, self.download, self.folder / "drill"):
            if folder.exists():
                shutil.rmtree(folder)


def default_folder() -> Path:
    """Where a demo lives unless it is told."""
    return home_folder("demo")


@contextmanager
def held(folder: Path) -> Iterator[DemoHome]:
    """Make the folder, and keep every other demo out of it. BusyError; ConfigurationError."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links
    try:
        make_folder(folder)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The demo cannot live in {folder}: {error.strerror}. Choose another folder with"
            " --home."
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"Another demo works in {folder}: wait until it is done, or choose another folder"
                " with --home."
            ) from None
        yield DemoHome(folder)
    finally:
        os.close(lock)


@contextmanager
def on_its_own(home: DemoHome) -> Iterator[None]:
    """Inside the block no setting is the user's: not from the environment, not from a `.env` (of
    Convault or Prefect) in the working directory."""
    before, folder = dict(os.environ), Path.cwd()
    for name in before:
        if name.startswith(_NOT_MEANT_FOR_THE_DEMO) and name not in _KEPT:
            del os.environ[name]
    os.environ.update(home.settings())
    os.chdir(home.folder)
    try:
        yield
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)
