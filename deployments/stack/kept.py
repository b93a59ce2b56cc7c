"""What a stack keeps on this machine: a folder, one stack at a time in it, and its secrets."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from convault.errors import BusyError, ConfigurationError
from convault.file_lock import alone
from convault.home import make_folder


@dataclass(frozen=True)
class Kept:
    """The folder of a stack."""

    folder: Path

    @property
    def prefect(self) -> Path:
        """PREFECT_HOME: Prefect's database, and what its workers keep."""
        return self.folder / "prefect"

    def sign_in(self) -> str:
        """`user:password` of the Prefect server, made when it is first asked for."""
        return self._secret("sign-in", lambda: f"convault:{secrets.token_urlsafe(24)}")[0]

    def api_key(self) -> tuple[str, bool]:
        """A key of the API for when none is set, and whether it was made just now."""
        return self._secret("api-key", lambda: f"cvk_{secrets.token_urlsafe(32)}")

    @property
    def api_key_file(self) -> Path:
        """Where that key is kept."""
        return self.folder / "api-key"

    def _secret(self, name: str, make: Callable[[], str]) -> tuple[str, bool]:
        path = self.folder / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            kept = path.read_text().strip()
            if not kept:  # killed before it was written
                path.unlink()
                return self._secret(name, make)
            return kept, False
        made = make()
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{made}\n")
        return made, True


@contextmanager
def held(folder: Path) -> Iterator[Kept]:
    """Make the folder, for this user alone, and keep every other stack out of it for the block.
    BusyError; ConfigurationError when it cannot be made."""
    busy = BusyError(
        f"`convault up` runs already with the folder {folder}. Stop it first (Ctrl-C where it "
        "runs), or set CONVAULT_HOME to another folder."
    )
    with ExitStack() as stack:
        try:
            make_folder(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
            stack.enter_context(alone(folder / "lock", busy))
        except OSError as error:
            raise ConfigurationError(
                f"{folder} cannot be used ({error.strerror}): the Prefect server keeps its data "
                "there. Choose another folder with CONVAULT_HOME."
            ) from None
        yield Kept(folder)
