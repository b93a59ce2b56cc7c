"""Whether backups are signed and encrypted, and who can read them again."""

from __future__ import annotations

from collections.abc import Sequence

from convault.catalog.base import Catalog, Recipient
from convault.dataset import masking
from convault.doctor.finding import Finding, amber, not_checked, of_error, ok, red
from convault.encryption.identities import configured
from convault.encryption.recipients import Mode
from convault.errors import ConvaultError
from convault.settings import Settings


def judge_signing(key_ids: Sequence[str]) -> Finding:
    """By the ids of the keys, the newest first."""
    if not key_ids:
        return amber(
            "signing key",
            "CONVAULT_SIGNING_KEY is not set: nobody can tell whether a manifest was changed",
            "Run `convault init`, which makes one, and keep a copy outside the store.",
        )
    return ok("signing key", f"manifests are signed with key {key_ids[0]}")


def judge_encryption(mode: Mode, known: Sequence[Recipient]) -> Finding:
    """What becomes of the next backup."""
    name, active = "encryption", sum(recipient.active for recipient in known)
    if mode == "off":
        return amber(
            name,
            "CONVAULT_ENCRYPTION is off: whoever reads the store reads the rows",
            "Unset it, and make a recipient with `convault keys new -o FILE`.",
        )
    if active:
        return ok(name, f"to {active} {'recipient' if active == 1 else 'recipients'}")
    if mode == "required" or known:
        required = "CONVAULT_ENCRYPTION is `required`"
        why = required if mode == "required" else "earlier backups are encrypted"
        return red(
            name,
            f"{why}, and there is no active recipient: no backup is made",
            "`convault keys new -o FILE` makes one, `convault keys add age1...` adds one.",
        )
    return amber(
        name,
        "there is no recipient: whoever reads the store reads the rows",
        "`convault keys new -o FILE` makes one; keep that file away from this machine.",
    )


def judge_identity(opened: Sequence[str] | None, known: Sequence[Recipient]) -> Finding:
    """`opened`: the public keys of the identities of CONVAULT_IDENTITY_FILE, None where it is not
    set."""
    name = "identity"
    if opened is None:
        return not_checked(
            name,
            "CONVAULT_IDENTITY_FILE is not set; only drills and restores of encrypted backups that "
            "nobody watches need it",
        )
    active = {recipient.public_key for recipient in known if recipient.active}
    if active and not active & set(opened):
        return red(
            name,
            "CONVAULT_IDENTITY_FILE opens no backup that is made now: it is of none of the active "
            "recipients",
            "Name the identity file of one of them (`convault keys show`), or add its public key "
            "with `convault keys add`.",
        )
    return ok(name, "CONVAULT_IDENTITY_FILE can be read")


def examine(settings: Settings, catalog: Catalog | None) -> list[Finding]:
    """`catalog` is None where it cannot be asked who the recipients are."""
    findings: list[Finding] = []
    try:
        findings.append(judge_signing(settings.signing.ids))
    except ConvaultError as error:
        findings.append(of_error("signing key", error))
    known: Sequence[Recipient] = ()
    if catalog is None:
        findings.append(not_checked("encryption", "the catalog cannot be asked for recipients"))
    else:
        try:
            known = catalog.recipients()
            findings.append(judge_encryption(settings.convault_encryption, known))
        except ConvaultError as error:
            findings.append(of_error("encryption", error))
    try:
        has = settings.convault_identity_file is not None
        opened = [one.recipient for one in configured(settings)] if has else None
        findings.append(judge_identity(opened, known))
    except ConvaultError as error:
        findings.append(of_error("identity", error))
    findings.append(_mask_key(settings))
    return findings


def _mask_key(settings: Settings) -> Finding:
    name = "mask key"
    if settings.convault_mask_key is None:
        return not_checked(name, "CONVAULT_MASK_KEY is not set; only `hash` masks need it")
    try:
        masking.mask_key(settings.convault_mask_key)
    except ConvaultError:
        return red(
            name,
            f"CONVAULT_MASK_KEY is shorter than {masking.SHORTEST_KEY} bytes, so it could be "
            "guessed",
            "Set it to the output of `openssl rand -base64 32`.",
        )
    return ok(name, "long enough")
