"""`convault rekey`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import progress
from cli.identify import backup_named
from cli.identities import Identities, Trust, identities_of
from cli.opening import opened
from cli.output import AsJson, print_json, say, size
from convault.errors import ConfigurationError, RecipientMissing
from convault.settings import load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from convault.encryption.age import Identity
    from convault.encryption.rekey import Rekeyed
    from convault.installation import Installation


def rekey(
    backup: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="An id, its first characters, or `latest`: the newest full one."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every backup of the repository.")] = False,
    identity: Identities = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Encrypt old backups anew, to the recipients of today and to nobody else; plain ones too.

    What is encrypted to them already is left alone. May be killed and run again: it goes on where
    it was. The old objects stay in the store, and open with the old keys, until they are swept.

    Example: convault rekey --all --identity old-key.txt
    """
    from convault.encryption.rekey import left_behind
    from convault.reconcile import reconcile

    if (backup is None) is not all_:
        raise ConfigurationError("Name one backup, or all of them with --all.")
    settings = load_settings()
    installation = opened(settings)
    recipients = _recipients(installation)
    ids = (
        installation.repository.backup_ids()
        if backup is None
        else [backup_named(installation, backup)]
    )
    identities = identities_of(settings, identity)
    done = []
    try:
        with progress.shown():
            done = [
                _one(installation, backup_id, recipients, identities, trust=trust)
                for backup_id in ids
            ]
    finally:
        reconcile(installation.repository, installation.catalog)
    old = left_behind(installation.repository)
    if as_json:
        print_json({"backups": [_as_object(found) for found in done], "old_bytes": old})
        return
    for found in done:
        print(_in_words(found))
    if old:
        say(
            f"{size(old)} of old objects are still in the store: whoever has a retired key, or "
            "found them unencrypted, can read them until they are swept."
        )


def _one(
    installation: Installation,
    backup_id: UUID,
    recipients: list[str],
    identities: tuple[Identity, ...],
    *,
    trust: bool,
) -> Rekeyed:
    from convault.adoption import require_ours
    from convault.encryption import rekey as rekeying
    from convault.home import home

    repository, catalog = installation.repository, installation.catalog
    require_ours(repository, catalog)
    with catalog.guard(repository.repository_id) as guard:
        return rekeying.rekey(
            repository,
            backup_id,
            recipients,
            identities=identities,
            keys=installation.signing,
            journals=home() / "rekey",
            trust=trust,
            workers=installation.settings.convault_workers,
            guard=guard,
        )


def _recipients(installation: Installation) -> list[str]:
    active = [found.public_key for found in installation.catalog.recipients() if found.active]
    if not active:
        raise RecipientMissing(
            "There is no active recipient to encrypt to. Add one with `convault keys add "
            "age1...` (`convault keys new` makes one)."
        )
    return active


def _as_object(found: Rekeyed) -> dict[str, object]:
    return {
        "id": str(found.backup_id),
        "revision": found.revision,
        "changed": found.changed,
        "signed": found.signed,
        "written_bytes": found.written_bytes,
    }


def _in_words(found: Rekeyed) -> str:
    if not found.changed:
        return f"{found.backup_id}  is encrypted to the recipients of today already"
    signed = "" if found.signed else ", unsigned as it was"
    return (
        f"{found.backup_id}  revision {found.revision}, {size(found.written_bytes)} written{signed}"
    )
