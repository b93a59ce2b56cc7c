"""Where the signing key comes from: the settings, or `.env`, into which `init` writes the first."""

from __future__ import annotations

import os
from dataclasses import dataclass

from convault import env_file, settings
from convault.errors import ConfigurationError
from convault.settings import Settings
from convault.signing.signature import KEY_BYTES, VARIABLE, SigningKeys, new_key

_MAKE_ONE = (
    f"Set {VARIABLE} to the output of `openssl rand -hex {KEY_BYTES}`, in the environment or in "
    ".env, and keep a copy outside the store"
)


@dataclass(frozen=True, slots=True)
class KeyReport:
    """What `init` or a rotation did about the key. Holds no secret."""

    keys: SigningKeys
    made: bool
    said: str
    """for people"""


def ensure(loaded: Settings) -> KeyReport:
    """The keys of the settings; where there is none, a new one, written into `.env`. When that
    cannot be done, `said` tells what to set, and there is none."""
    if loaded.signing:
        return KeyReport(
            loaded.signing, False, f"Manifests are signed with key {loaded.signing.ids[0]}."
        )
    if (name := _in_environment()) is not None:
        # A key in `.env` would count for nothing, and each `init` would make another one there.
        return KeyReport(
            SigningKeys(),
            False,
            f"{name} is set in the environment, to nothing, which wins over .env; so backups will "
            f"be unsigned. Unset it there and run `convault init` again. Or: {_MAKE_ONE}.",
        )
    made = new_key()
    try:
        value = env_file.change_variable(
            settings.ENV_FILE, VARIABLE, lambda before: None if before else made
        )
    except OSError as error:
        return KeyReport(
            SigningKeys(),
            False,
            f"No signing key could be written into {settings.ENV_FILE} ({error.strerror}), so "
            f"backups will be unsigned. {_MAKE_ONE}.",
        )
    keys = SigningKeys.parse(value or made)
    if value != made:
        # Another `init` was quicker.
        return KeyReport(keys, False, f"Manifests are signed with key {keys.ids[0]}.")
    return KeyReport(
        keys,
        True,
        f"Made the signing key {keys.ids[0]} and wrote it into {settings.ENV_FILE.absolute()}. "
        "Keep a copy outside the store, and give it to every machine that backs up or restores.",
    )


def rotate() -> KeyReport:
    """Put a new key in front of those in `.env`: it signs from now on, the others go on to prove
    what they signed. ConfigurationError when `.env` is not where they come from, cannot be
    written, or holds what is no key."""
    if (name := _in_environment()) is not None:
        raise ConfigurationError(
            f"{name} is set in the environment, which wins over .env, so nothing was changed. "
            f"There, put the output of `openssl rand -hex {KEY_BYTES}` and a comma in front of it."
        )
    made = new_key()

    def with_those_before(before: str | None) -> str:
        value = ",".join([made, *filter(None, map(str.strip, (before or "").split(",")))])
        SigningKeys.parse(value)
        return value

    try:
        value = env_file.change_variable(settings.ENV_FILE, VARIABLE, with_those_before)
    except OSError as error:
        raise ConfigurationError(
            f"{settings.ENV_FILE} cannot be written ({error.strerror}); nothing was changed."
        ) from None
    keys = SigningKeys.parse(value or made)
    return KeyReport(
        keys,
        True,
        f"New backups are signed with key {keys.ids[0]}. The earlier ones stay behind it in "
        f"{settings.ENV_FILE.absolute()}: they prove what they signed. Give the new value to every "
        "machine that backs up or restores.",
    )


def _in_environment() -> str | None:
    """The variable as it is written in the environment, in whichever case settings take it; also
    when it is empty. None when it is not there."""
    return next((name for name in os.environ if name.upper() == VARIABLE), None)
