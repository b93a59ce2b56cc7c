"""Where the signing key comes from: the settings, or `.env`, into which `init` writes the first."""

from __future__ import annotations

import os
from dataclasses import dataclass

from convault import env_file, settings
from convault.errors import ConfigurationError
from convault.settings import Settings
from convault.signature import KEY_BYTES, VARIABLE, SigningKeys, new_key

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
    made = new_key()
    try:
        env_file.put_variable(settings.ENV_FILE, VARIABLE, made)
    except OSError as error:
        return KeyReport(
            SigningKeys(),
            False,
            f"No signing key could be written into {settings.ENV_FILE} ({error.strerror}), so "
            f"backups will be unsigned. {_MAKE_ONE}.",
        )
    keys = SigningKeys.parse(made)
    return KeyReport(
        keys,
        True,
        f"Made the signing key {keys.ids[0]} and wrote it into {settings.ENV_FILE.absolute()}. "
        "Keep a copy outside the store, and give it to every machine that backs up or restores.",
    )


def rotate(loaded: Settings) -> KeyReport:
    """Put a new key in front of those in `.env`: it signs from now on, the others go on to prove
    what they signed. ConfigurationError when `.env` is not where they come from, or cannot be
    written."""
    if os.environ.get(VARIABLE):
        raise ConfigurationError(
            f"{VARIABLE} is set in the environment, which wins over .env, so nothing was changed. "
            f"There, put the output of `openssl rand -hex {KEY_BYTES}` and a comma in front of it."
        )
    made = new_key()
    before = (
        ""
        if loaded.convault_signing_key is None
        else loaded.convault_signing_key.get_secret_value()
    )
    value = ",".join([made, *(key.strip() for key in before.split(",") if key.strip())])
    try:
        env_file.put_variable(settings.ENV_FILE, VARIABLE, value)
    except OSError as error:
        raise ConfigurationError(
            f"{settings.ENV_FILE} cannot be written ({error.strerror}); nothing was changed."
        ) from None
    keys = SigningKeys.parse(value)
    return KeyReport(
        keys,
        True,
        f"New backups are signed with key {keys.ids[0]}. The earlier ones stay behind it in "
        f"{settings.ENV_FILE.absolute()}: they prove what they signed. Give the new value to every "
        "machine that backs up or restores.",
    )
