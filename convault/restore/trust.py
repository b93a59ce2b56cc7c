"""Whether an archive is what this installation signed, and what an operator is shown when not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from convault.errors import RestoreError, SignatureError
from convault.manifest import Manifest
from convault.models import Statement
from convault.restore.options import RestoreOptions
from convault.restore.script import holds_code, script_of
from convault.signing.signature import Signature


def admit(
    manifest: Manifest,
    signature: Signature,
    options: RestoreOptions,
    *,
    trust: bool,
    confirm: Callable[[str], bool],
) -> bool:
    """Whether SQL of the archive may run as any role: True for a signed one.

    SignatureError for one that is not, unless `trust`; then its code is shown to `confirm`, which
    has to agree (RestoreError), unless `data_only` leaves it out.
    """
    if signature is Signature.SIGNED:
        return True
    if not trust:
        raise SignatureError(
            f"Backup {manifest.backup_id} {_SAYS[signature]}, so whoever can write to the store "
            "may have made it, with SQL of their own in it. Nothing was restored: see where it "
            "comes from, and use --trust to restore it all the same, best with --data-only, which "
            "runs none of its code.",
            backup=manifest.backup_id,
        )
    shown = code_of(script_of(manifest, data_only=options.data_only))
    if shown and not confirm(
        f"This archive {_SAYS[signature]}. It would run this code:\n\n{shown}\n\nRun it?"
    ):
        raise RestoreError(
            "Its code was not agreed to. Nothing was restored: use --data-only to restore without "
            "it, or --yes to agree.",
            backup=manifest.backup_id,
        )
    return False


def code_of(script: Iterable[Statement]) -> str:
    """The statements that hold code, as SQL."""
    return "\n".join(f"{statement.sql};" for statement in script if holds_code(statement))


_SAYS = {
    Signature.UNSIGNED: "is not signed",
    Signature.WRONG: "is not signed with this installation's key",
    Signature.UNCHECKED: "has a signature that cannot be checked without CONVAULT_SIGNING_KEY",
    Signature.SIGNED: "is signed",
}
