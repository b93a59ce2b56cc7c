"""Where Convault keeps what belongs to this machine."""

from __future__ import annotations

import os
from pathlib import Path

from convault.errors import ConfigurationError


def home(*, alone: bool = False) -> Path:
    """CONVAULT_HOME, or else the user's data folder. For root it is below /var/lib: the demo's
    Postgres runs as `nobody` then, who cannot enter /root. `alone`: whatever `.env` says of it, and
    whosever it is. ConfigurationError."""
    from convault.settings import environment

    folder = os.environ.get("CONVAULT_HOME") if alone else environment("CONVAULT_HOME")
    if folder:
        if not Path(folder).is_absolute():
            raise ConfigurationError("CONVAULT_HOME must be an absolute path.")
        return Path(folder)
    if os.geteuid() == 0:
        return Path("/var/lib/convault")
    from platformdirs import user_data_dir

    return Path(user_data_dir("convault"))


def make_folder(folder: Path) -> None:
    """Make it and those above it that are missing, for this user alone. For root others must be
    able to pass through, whatever the umask: Postgres runs as nobody. OSError."""
    mode = 0o711 if os.geteuid() == 0 else 0o700
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        new.chmod(mode)
