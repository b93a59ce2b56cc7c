"""Where the demo lives: a folder, one demo at a time in it, and settings of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from convault.embedded.server import EmbeddedPostgres
from convault.errors import BusyError, ConfigurationError
from convault.file_lock import alone
from convault.home import home, make_folder
from convault.signing.signature import new_key

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

    @property
    def signing_key(self) -> Path:
        """A file that holds the key which signs the demo's manifests."""
        return self.folder / "signing.key"

    @property
    def identity(self) -> Path:
        """The identity file that opens the demo's encrypted backups, once there are any."""
        return self.folder / "identity.txt"

    def settings(self) -> dict[str, str]:
        """The environment in which every command works on the demo's school. It holds the signing
        key, which is made when it is first asked for."""
        if not self.signing_key.exists():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(self.signing_key, flags, 0o600), "w") as file:
                file.write(new_key())
        found = {
            "DATABASE_URL": self.postgres.url("school"),
            "CONVAULT_STORE_URL": self.store.as_uri(),
            "CONVAULT_SIGNING_KEY": self.signing_key.read_text(),
            "PREFECT_HOME": str(self.prefect),
            # Only what is meant to be (`demo_encryption.encrypted`) is encrypted.
            "CONVAULT_ENCRYPTION": "off",
        }
        if self.identity.exists():
            found["CONVAULT_IDENTITY_FILE"] = str(self.identity)
        return found

    def reset(self) -> None:
        """Forget everything that earlier demos left."""
        if self.postgres.folder.exists():
            self.postgres.destroy()
        for folder in (self.store, self.prefect, self.download, self.folder / "drill"):
            if folder.exists():
                shutil.rmtree(folder)
        for file in (self.signing_key, self.identity):
            file.unlink(missing_ok=True)


def default_folder() -> Path:
    """Where a demo lives unless it is told. A `.env` in the working directory is no demo's."""
    return home(alone=True) / "demo"


@contextmanager
def held(folder: Path) -> Iterator[DemoHome]:
    """Make the folder, and keep every other demo out of it. BusyError; ConfigurationError."""
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() would follow links
    busy = BusyError(
        f"Another demo works in {folder}: wait until it is done, stop it where it runs "
        "(`convault up --demo` goes on until Ctrl-C), or choose another folder with --home."
    )
    with ExitStack() as stack:
        try:
            make_folder(folder)
            stack.enter_context(alone(folder / "lock", busy))
        except OSError as error:
            raise ConfigurationError(
                f"The demo cannot live in {folder}: {error.strerror}. Choose another folder with"
                " --home."
            ) from None
        yield DemoHome(folder)


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
