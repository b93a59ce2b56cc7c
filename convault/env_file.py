"""One variable of `.env`, set by Convault itself; everything else in the file stays as it is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

Change = Callable[[str | None], str | None]
"""from what the file says of a variable (None: nothing, or an empty value) to what it is to say;
None to leave it"""

_SCRATCH = ".env.new"


def change_variable(path: Path, name: str, change: Change) -> str | None:
    """Have `path` say of the variable `name`, in whichever case it is written there, what `change`
    makes of what it says now; what it says then. The file is made (mode 0600) if it is missing, and
    changed as a whole or not at all, on stable storage. Two at once come one after the other, so
    that neither loses what the other one wrote. Values need no quotes. OSError when that cannot be
    done, and what `change` raises."""
    target = path.resolve()  # a link stays a link
    with _alone(target.parent) as folder:
        owner = _owner(target)
        before = _value(target, name)
        after = change(before)
        if after is None:
            return before
        scratch = target.parent / _SCRATCH
        scratch.unlink(missing_ok=True)  # of one that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(scratch, flags, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                if owner is not None:
                    # Root must not take it from the user whose settings they are.
                    os.fchown(descriptor, *owner)
                file.write(_with(target, name, after))
                file.flush()
                os.fsync(descriptor)
            scratch.replace(target)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        os.fsync(folder)
        return after


def put_variable(path: Path, name: str, value: str) -> None:
    """Have `path` say `name=value`, once, as by `change_variable`."""
    change_variable(path, name, lambda _: value)


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Nobody else changes a variable of a file in `folder` during the block."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _owner(path: Path) -> tuple[int, int] | None:
    """User and group whose file it must stay; None for a new file, and for what is our own."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if status.st_mode & 0o077:
        raise PermissionError(0, "others can read it")
    owner = status.st_uid, status.st_gid
    return None if owner == (os.geteuid(), os.getegid()) else owner


def _value(path: Path, name: str) -> str | None:
    """As the settings read it: of several the last, whatever its case."""
    try:
        with path.open(encoding="utf-8") as file:
            values = dotenv_values(stream=file)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise OSError(0, "it is not UTF-8") from None
    found = [value for key, value in values.items() if key.upper() == name]
    return found[-1] or None if found else None


def _with(path: Path, name: str, value: str) -> str:
    """The text of `path` with that variable."""
    line = f"{name}={value}\n"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError:
        return line
    text, done = "", False
    for binding in bindings:
        if (binding.key or "").upper() != name:
            text += binding.original.string
        elif not done:
            # What stands before it on lines of their own belongs to the line.
            blank = binding.original.string
            text += blank[: len(blank) - len(blank.lstrip("\r\n"))] + line
            done = True
    if done:
        return text
    return text + ("" if not text or text.endswith("\n") else "\n") + line
