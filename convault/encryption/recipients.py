"""Whether a backup is encrypted, and to whom: decided before anything of it is made.

Fails closed: once there were encrypted backups, a plain one is only made when somebody says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from convault.catalog.base import BackupRecord, BackupStatus, Catalog, Recipient
from convault.encryption.objects import Encryptor
from convault.errors import ConvaultError, NotFoundError, RecipientMissing, RepositoryError
from convault.manifest import Manifest
from convault.repository import Repository

Mode = Literal["auto", "required", "off"]

FOUND = "found in a backup"
"""label of a recipient that the catalog learned from a manifest"""


def decide(
    mode: Mode, recipients: Iterable[Recipient], encrypted_before: bool
) -> tuple[str, ...] | None:
    """The public keys to encrypt to, or None for a plain backup. RecipientMissing, with the remedy,
    when it would have to be encrypted and cannot be."""
    if mode == "off":
        return None
    known = list(recipients)
    active = tuple(recipient.public_key for recipient in known if recipient.active)
    if active:
        return active
    if mode == "required":
        raise _missing("CONVAULT_ENCRYPTION is `required`", known)
    if encrypted_before or known:
        raise _missing("earlier backups are encrypted", known)
    return None


def encryptor_of(mode: Mode, repository: Repository, catalog: Catalog) -> Encryptor | None:
    """What encrypts a new backup, or None for a plain one. RecipientMissing; the catalog's
    errors."""
    known = catalog.recipients()
    asked = mode == "auto" and not known
    before = _encrypted_before(repository, catalog.list()) if asked else False
    chosen = decide(mode, known, before)
    return None if chosen is None else Encryptor(chosen)


def require_recipient(mode: Mode, catalog: Catalog) -> None:
    """RecipientMissing when a backup would have to be encrypted and cannot be, as far as the
    catalog alone tells: for who may hand a run on and has no way into the store. The run itself
    asks again."""
    decide(mode, catalog.recipients(), encrypted_before=False)


def learn(catalog: Catalog, manifest: Manifest) -> Sequence[str]:
    """Write down to whom an encrypted backup is encrypted, as retired, where the catalog does not
    know it: after a rebuilt catalog no backup must silently be a plain one. Those that are new."""
    if manifest.encryption is None:
        return ()
    return catalog.remember_recipients(recipients_of(manifest), FOUND)


def recipients_of(manifest: Manifest) -> tuple[str, ...]:
    """Everybody who is named as a recipient of anything in the backup."""
    facts = manifest.encryption
    if facts is None:
        return ()
    keys = {key for entry in facts.digest_keys for key in entry.recipients}
    return tuple(sorted({*facts.recipients, *keys}))


def opens(manifest: Manifest, recipient: str) -> bool:
    """Whether the identity of `recipient` opens all of an encrypted backup."""
    facts = manifest.encryption
    if facts is None:
        return False
    sets: list[Collection[str]] = [facts.recipients, *(k.recipients for k in facts.digest_keys)]
    return all(recipient in those for those in sets)


def _encrypted_before(repository: Repository, rows: Iterable[BackupRecord]) -> bool:
    """Whether the newest backup that can be read is encrypted. The catalog names the recipients of
    all of them; this is for one that lost them."""
    for row in rows:
        ours = row.repository_id == repository.repository_id
        if ours and row.status is BackupStatus.COMPLETED:
            try:
                return repository.manifest(row.id).encryption is not None
            except (NotFoundError, RepositoryError):
                continue  # `convault init` names it
    return False


def _missing(why: str, known: Sequence[Recipient]) -> ConvaultError:
    retired = ", ".join(recipient.public_key for recipient in known)
    again = f" Known, and not active: {retired}." if retired else ""
    return RecipientMissing(
        f"Nothing was backed up: {why}, and there is no active recipient to encrypt to. Add one "
        "with `convault keys add age1...` (`convault keys new` makes one), or set "
        f"CONVAULT_ENCRYPTION=off if this backup may be read by whoever reads the store.{again}"
    )
