"""What is said of a manifest's signature."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import UUID

from cli.output import say
from convault.errors import NotFoundError, RepositoryError
from convault.signing.signature import VARIABLE, Signature, SigningKeys

if TYPE_CHECKING:
    from convault.installation import Installation
    from convault.manifest import Manifest

_READS = 8
"""manifests read at a time"""


def in_words(found: Signature, data: bytes, keys: SigningKeys) -> str:
    """The answer that was `found` for a stored manifest, in a line."""
    if found is Signature.SIGNED:
        return "signed"
    if found is Signature.UNSIGNED:
        return "unsigned: nobody can tell whether it was changed"
    if found is Signature.UNCHECKED:
        return f"cannot be checked here: {VARIABLE} is not set"
    return f"wrong: {keys.problem(data)}"


def say_signature(found: Signature, data: bytes, keys: SigningKeys) -> None:
    """Tell people, on stderr, with a warning unless it is signed."""
    warning = "" if found is Signature.SIGNED else "Warning: "
    say(f"{warning}The manifest's signature: {in_words(found, data, keys)}.")


def signature_of(installation: Installation, manifest: Manifest, data: bytes) -> Signature:
    """The answer for a stored manifest and its bytes."""
    superseded = installation.repository.superseded(manifest)
    return installation.signing.check(data, superseded=superseded)


def signatures(installation: Installation, ids: Sequence[UUID]) -> dict[UUID, Signature]:
    """The answer for each backup that has a manifest which can be read."""

    def look(backup_id: UUID) -> Signature | None:
        try:
            return signature_of(installation, *installation.repository.stored_manifest(backup_id))
        except (NotFoundError, RepositoryError):
            return None

    with ThreadPoolExecutor(_READS) as pool:
        found = zip(ids, pool.map(look, ids), strict=True)
        return {backup_id: state for backup_id, state in found if state is not None}
