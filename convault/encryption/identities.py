"""Identity files: the secret keys that open encrypted backups, as `age-keygen` writes them.

They are made and read here and nowhere else, and are never part of a store, a catalog or a log.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from convault.durability import sync
from convault.encryption import age
from convault.encryption.age import Identity
from convault.errors import (
    ConfigurationError,
    IdentityMissing,
    IdentityUnusable,
    WrongPassphrase,
)
from convault.settings import Settings

Ask = Callable[[Path], str]
"""gives the passphrase of an identity file; ConfigurationError where nobody can be asked"""

MAX_BYTES = 1024 * 1024
"""of an identity file: one that is larger is something else"""

_SECRET = "AGE-SECRET-KEY-1"


def write_new(path: Path, *, label: str = "", passphrase: str | None = None) -> str:
    """Make a secret key, write it into the new file `path` (mode 0600, on stable storage), and
    return its public key. With a passphrase the file is encrypted as `age -p` does.

    ConfigurationError when something is there already, which is never overwritten, or when the file
    cannot be written; then there is none.
    """
    secret, recipient = age.new_identity()
    comments = [f"created: {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", f"public key: {recipient}"]
    if label:
        comments.insert(1, f"label: {' '.join(label.split())}")
    text = "".join(f"# {comment}\n" for comment in comments) + f"{secret}\n"
    data = text.encode()
    if passphrase is not None:
        data = age.encrypt_with_passphrase(data, passphrase)
    _create(path, data)
    return recipient


def read_all(paths: Iterable[Path], ask: Ask) -> tuple[Identity, ...]:
    """The identities in all of the files. `ask` is asked for the passphrase of each that has one.

    IdentityMissing for a file that is not there, IdentityUnusable for one that is no identity file
    or that others can read, WrongPassphrase.
    """
    found: dict[str, Identity] = {}
    for path in paths:
        for identity in _read(path, ask):
            found.setdefault(identity.recipient, identity)
    return tuple(found.values())


def configured(settings: Settings) -> tuple[Identity, ...]:
    """Those of CONVAULT_IDENTITY_FILE, for runs that nobody watches; none where it is not set. As
    `read_all`, and ConfigurationError where only a person could give the passphrase."""

    def passphrase(path: Path) -> str:
        file = settings.convault_identity_passphrase_file
        if file is None:
            raise ConfigurationError(
                f"The identity file {path} has a passphrase: name a file that holds it in "
                "CONVAULT_IDENTITY_PASSPHRASE_FILE."
            )
        return read_passphrase(file)

    file = settings.convault_identity_file
    return read_all([] if file is None else [file], passphrase)


def read_passphrase(path: Path) -> str:
    """The passphrase in the first line of a file that is its owner's alone. ConfigurationError."""
    try:
        data = _private_bytes(path)
        passphrase = data.decode().split("\n")[0].removesuffix("\r")
    except FileNotFoundError:
        raise ConfigurationError(f"The passphrase file {path} is not there.") from None
    except IdentityUnusable as error:
        raise ConfigurationError(error.message) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"The passphrase file {path} is not text.") from None
    if not passphrase:
        raise ConfigurationError(f"The first line of the passphrase file {path} is empty.")
    return passphrase


def _read(path: Path, ask: Ask) -> Sequence[Identity]:
    try:
        data = _private_bytes(path)
    except FileNotFoundError:
        raise IdentityMissing(
            f"The identity file {path} is not there. Without it, or the identity of another "
            "recipient (`convault keys show` names them), what was encrypted to it cannot be read "
            "by anybody: look for a copy.",
            identity=path,
        ) from None
    if data.startswith(age.MAGIC):
        data = _unlocked(path, data, ask)
    try:
        lines = [line.strip() for line in data.decode().splitlines()]
        secrets = [line for line in lines if line and not line.startswith("#")]
        identities = [age.identity(secret) for secret in secrets]
    except ValueError:
        # UnicodeDecodeError is one, too. Nothing of the content is repeated: it may be a secret.
        identities = []
    if not identities:
        raise _unusable(
            path, f"holds no secret key of age (lines that begin with {_SECRET}), or a damaged one"
        )
    return identities


def _unlocked(path: Path, data: bytes, ask: Ask) -> bytes:
    try:
        return age.decrypt_with_passphrase(data, ask(path))
    except age.BadPassphrase:
        raise WrongPassphrase(
            f"That is not the passphrase of the identity file {path}. Try again; without it the "
            "file opens nothing.",
            identity=path,
        ) from None
    except age.NoMatch:
        raise _unusable(path, "is encrypted, but not with a passphrase: decrypt it first") from None
    except age.TooMuchWork:
        raise _unusable(
            path, "asks for more work to try a passphrase than any program does: take a copy of it"
        ) from None
    except age.CannotOpen:
        raise _unusable(path, "is damaged: take a copy of it") from None


def _private_bytes(path: Path) -> bytes:
    """FileNotFoundError; IdentityUnusable when it cannot be read, is another user's, or others can
    read it."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid not in (0, os.geteuid()):
                raise _unusable(path, "belongs to another user. Use a file of your own")
            if stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
                raise _unusable(path, f"can be read by others: run `chmod 600 {path}`")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise _unusable(path, "is too large to be one")
    return data


def _create(path: Path, data: bytes) -> None:
    if not path.parent.is_dir():
        raise ConfigurationError(f"The folder {path.parent} does not exist: make it first.")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is there already, and may hold a key that backups need: it was left as it is. "
            "Name another file with --output."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}. No key was made."
        ) from None


def _unusable(path: Path, why: str) -> IdentityUnusable:
    return IdentityUnusable(f"The file {path} {why}.", identity=path)
