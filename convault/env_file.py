"""One variable of `.env`, set by Convault itself; everything else in the file stays as it is."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from dotenv.parser import parse_stream


def put_variable(path: Path, name: str, value: str) -> None:
    """Have `path` say `name=value`, once: the file is made (mode 0600) if it is missing, and
    changed as a whole or not at all. `value` needs no quotes. OSError when that cannot be done."""
    target = path.resolve()  # a link stays a link
    with suppress(FileNotFoundError):
        if target.stat().st_mode & 0o077:
            raise PermissionError(0, "others can read it")
    descriptor, scratch = tempfile.mkstemp(prefix=".env.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(_with(target, name, value))
            file.flush()
            os.fsync(descriptor)
        Path(scratch).replace(target)
    except BaseException:
        Path(scratch).unlink()
        raise


def _with(path: Path, name: str, value: str) -> str:
    """The text of `path` with that variable."""
    line = f"{name}={value}\n"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError:
        return line
    except UnicodeDecodeError:
        raise OSError(0, "it is not UTF-8") from None
    text, done = "", False
    for binding in bindings:
        if binding.key != name:
            text += binding.original.string
        elif not done:
            # What stands before it on lines of their own belongs to the line.
            blank = binding.original.string
            text += blank[: len(blank) - len(blank.lstrip("\r\n"))] + line
            done = True
    if done:
        return text
    return text + ("" if not text or text.endswith("\n") else "\n") + line
