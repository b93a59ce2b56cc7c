"""What a rekey has done so far, on this machine: so that one that was killed goes on.

It lies here and not in the store, because whoever can write to the store could otherwise slip
objects of their own into the next revision: anybody can encrypt to a public key. It holds the new
digest key, and no identity.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from convault.encryption.objects import Encryptor
from convault.errors import BusyError, ConfigurationError
from convault.manifest import DigestKey


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A part that was stored anew."""

    key: str
    sha256: str
    stored_bytes: int
    plain_sha256: str


class Journal:
    """Open, and held against every other rekey on this machine. May be used by several threads."""

    def __init__(self, file: IO[bytes], encryptor: Encryptor, done: dict[str, Rewritten]) -> None:
        """By `JournalFile.opened`."""
        self.encryptor = encryptor
        self._file = file
        self._done = done
        self._lock = threading.Lock()
        self.finished = False

    def find(self, key: str) -> Rewritten | None:
        """What became of the old object of that key, if it was noted."""
        with self._lock:
            return self._done.get(key)

    def add(self, key: str, made: Rewritten) -> None:
        """Note it, on stable storage."""
        with self._lock:
            self._done[key] = made
            _append(self._file, {"old": key, "new": asdict(made)})

    def done(self) -> None:
        """The revision is written: nothing is left to go on with."""
        self.finished = True


@dataclass(frozen=True, slots=True)
class JournalFile:
    """Where the journal of one backup lies, whether or not it is there."""

    path: Path

    def forget(self) -> None:
        """Remove what a rekey left that was killed after its last step."""
        self.path.unlink(missing_ok=True)

    @contextmanager
    def opened(self, manifest: bytes, recipients: tuple[str, ...]) -> Iterator[Journal]:
        """The journal of a rekey of `manifest` to `recipients`, with what an earlier one of the
        same did; removed behind a block that finished. BusyError when another rekey holds it,
        ConfigurationError when it cannot be kept."""
        begun = {"manifest": sha256(manifest).hexdigest(), "recipients": list(recipients)}
        with _held(self.path) as file:
            journal = _resumed(file, begun) or _begun(file, begun, recipients)
            yield journal
            if journal.finished:
                self.path.unlink(missing_ok=True)


def journal_of(folder: Path, backup_id: UUID) -> JournalFile:
    """The journal of a backup in the folder, which is made (0700) with what is written into it."""
    return JournalFile(folder / f"{backup_id}.journal")


@contextmanager
def _held(path: Path) -> Iterator[IO[bytes]]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(
                f"The folder {path.parent} can be entered by others. Run `chmod 700` on it."
            )
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The journal of the rekey cannot be kept in {path.parent}: {error.strerror}. Set "
            "CONVAULT_HOME to a folder of yours."
        ) from None
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                "Another rekey of this backup works on this machine: wait until it is done."
            ) from None
        yield file


def _resumed(file: IO[bytes], begun: dict[str, Any]) -> Journal | None:
    """None when there is nothing to go on with: another manifest, or other recipients."""
    # A kill in the middle of a line leaves it without its end.
    whole = file.read().rpartition(b"\n")[0]
    try:
        lines = [json.loads(line) for line in whole.split(b"\n")]
        if {name: lines[0].get(name) for name in begun} != begun:
            return None
        sealed = DigestKey.model_validate(
            {**lines[0]["digest_key"], "recipients": tuple(begun["recipients"])}
        )
        secret = base64.b64decode(lines[0]["secret"])
        done = {line["old"]: Rewritten(**line["new"]) for line in lines[1:]}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    file.seek(len(whole) + 1)
    file.truncate()
    return Journal(file, Encryptor.again(sealed, secret), done)


def _begun(file: IO[bytes], begun: dict[str, Any], recipients: tuple[str, ...]) -> Journal:
    file.seek(0)
    file.truncate()
    encryptor = Encryptor(recipients)
    secret = base64.b64encode(encryptor.secret).decode()
    sealed = encryptor.digest_key.model_dump(mode="json")
    _append(file, {**begun, "secret": secret, "digest_key": sealed})
    return Journal(file, encryptor, {})


def _append(file: IO[bytes], line: dict[str, Any]) -> None:
    file.write(json.dumps(line).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())
