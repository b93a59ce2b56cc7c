"""Where a restore goes: a URL that may hold a password, and so never comes as an argument."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path

from psycopg import OperationalError, pq

from convault.errors import ConfigurationError
from convault.settings import Settings

_HOW = (
    "Name a target (--target NAME, with CONVAULT_TARGET_<NAME>_URL in the environment or .env), or"
    " give its URL in a file (--into-file FILE) or on stdin (--into-file -)."
)


def url_of_target(
    settings: Settings, *, target: str | None, into: str | None, into_file: str | None
) -> str:
    """The URL from the one of the three that was given; asked for when none was.

    ConfigurationError when more were given, when a password stands on the command line, or when a
    file is somebody else's or can be read by others; NotFoundError for an unknown target.
    """
    if sum(choice is not None for choice in (target, into, into_file)) > 1:
        raise ConfigurationError("Use one of --target, --into-file and --into.")
    if target is not None:
        return settings.target_url(target)
    if into is not None:
        return _without_password(into)
    if into_file is not None:
        return _only_line(_from_stdin() if into_file == "-" else _from_file(Path(into_file)))
    if sys.stdin.isatty():
        return _only_line(getpass.getpass("URL of the empty database to restore into: "))
    raise ConfigurationError(f"Where to? {_HOW}")


def _without_password(url: str) -> str:
    """`url`, if it is one and carries no secret. Its text is never repeated: it may be one."""
    try:
        options = pq.Conninfo.parse(url.encode())
    except OperationalError:
        raise ConfigurationError(
            "What follows --into is not a URL of Postgres (postgresql://user@host:5432/database)."
        ) from None
    # libpq marks what must not be shown with an asterisk: password, sslpassword, ...
    if any(option.val is not None and option.dispchar == b"*" for option in options):
        raise ConfigurationError(
            "The URL after --into carries a password, which every user of this machine can read"
            f" there. It was not used; change it if others work here. {_HOW}"
        )
    return url


def _from_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()):
                raise ConfigurationError(
                    f"The file {path} is somebody else's, who could name another database in it."
                    " Use a file of your own."
                )
            if stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigurationError(
                    f"The file {path} can be read by others, and it may hold a password. Run"
                    f" `chmod 600 {path}` and try again."
                )
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigurationError(f"The file {path} cannot be read: {reason}.") from None


def _from_stdin() -> str:
    return sys.stdin.read()


def _only_line(text: str) -> str:
    url = text.strip()
    try:
        if not url or "\n" in url:
            raise OperationalError
        pq.Conninfo.parse(url.encode())
    except OperationalError:
        raise ConfigurationError(
            "There must be one line with a URL of Postgres"
            " (postgresql://user:password@host:5432/database)."
        ) from None
    return url
