"""`--identity`: the files with the secret keys that open encrypted backups, and their passphrase.

A passphrase is never an argument, which every user of the machine could read: it is asked for, or
read from the file that CONVAULT_IDENTITY_PASSPHRASE_FILE names.
"""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convault.errors import ConfigurationError
from convault.settings import Settings

if TYPE_CHECKING:
    from convault.encryption.age import Identity

Identities = Annotated[
    list[Path] | None,
    typer.Option(
        "--identity",
        metavar="FILE",
        help="An identity file that opens encrypted backups; may be repeated. By default that of "
        "CONVAULT_IDENTITY_FILE.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Also when the signature of the manifest is wrong: take it as it is."
    ),
]


def identities_of(settings: Settings, files: list[Path] | None) -> tuple[Identity, ...]:
    """The identities in the files, or in that of CONVAULT_IDENTITY_FILE when none is named; none
    where that is not set. IdentityMissing, IdentityUnusable, WrongPassphrase."""
    from convault.encryption import identities

    named = settings.convault_identity_file
    paths = files or ([] if named is None else [named])
    return identities.read_all(paths, lambda path: passphrase_of(settings, path))


def passphrase_of(settings: Settings, path: Path) -> str:
    """The passphrase of an identity file. ConfigurationError where nobody can be asked."""
    given = _from_file(settings)
    return given if given is not None else _asked(f"Passphrase of {path}: ")


def new_passphrase(settings: Settings, path: Path) -> str:
    """A passphrase for a new identity file, typed twice. ConfigurationError."""
    given = _from_file(settings)
    if given is not None:
        return given
    typed = _asked(f"Passphrase for {path}: ")
    if not typed:
        raise ConfigurationError("The passphrase is empty. No key was made.")
    if _asked("The same again: ") != typed:
        raise ConfigurationError("These were two different passphrases. No key was made.")
    return typed


def _from_file(settings: Settings) -> str | None:
    from convault.encryption import identities

    path = settings.convault_identity_passphrase_file
    return None if path is None else identities.read_passphrase(path)


def _asked(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "The identity file has a passphrase, and there is no terminal to ask for it. Name a "
            "file that holds it in CONVAULT_IDENTITY_PASSPHRASE_FILE."
        )
    return getpass.getpass(prompt)
