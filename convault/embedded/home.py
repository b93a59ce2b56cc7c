"""Where embedded servers keep what they need: a folder that their Postgres can reach."""

from __future__ import annotations

import os
from pathlib import Path

from convault.errors import ConfigurationError


def home_folder(name: str) -> Path:
    """`name` in CONVAULT_HOME, or in the user's data folder. For root it is below /var/lib:
    Postgres runs as `nobody` then, who cannot enter /root."""
    home = os.environ.get("CONVAULT_HOME")
    if home:
        if not Path(home).is_absolute():
            raise ConfigurationError("CONVAULT_HOME must be an absolute path.")
        return Path(home) / name
    if os.geteuid() == 0:
        return Path("/var/lib/convault") / name
    from platformdirs import user_data_dir

    return Path(user_data_dir("convault")) / name


def make_folder(folder: Path) -> None:
    """Make it and those above it that are missing, for this user alone. For root others must be
    able to pass through, whatever the umask: Postgres runs as nobody. OSError."""
    mode = 0o711 if os.geteuid() == 0 else 0o700
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        new.chmod(mode)
